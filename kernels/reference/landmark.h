#pragma once

#include "kernels/landmark.h"

namespace kvg::reference {

// Applies the steps of `params` in order; T is the type of k and v (float or double). Every value
// written to a bank is read back through its codec before it is used again, so a result does not
// depend on how the evictions were spread over calls. Host only; sequential by nature.
template <typename T>
void landmark_absorb(const LandmarkParams& params);

extern template void landmark_absorb<float>(const LandmarkParams&);
extern template void landmark_absorb<double>(const LandmarkParams&);

}  // namespace kvg::reference
