#pragma once

#include "kernels/cuda/landmark/landmark_test_util.h"

#include <cstdint>
#include <vector>

namespace kvg::cuda {

// Steps of these many tokens, over and over: the scan against the double-precision reference, step
// by step from the same state, so that one decision within rounding does not spoil the rest.
// `equal_gates`: as a model without a write gate has them.
void expect_agreement(CudaContext& context, const LandmarkCase& test,
                      const std::vector<int64_t>& sizes, uint64_t seed, int steps = 24,
                      bool equal_gates = false);

}  // namespace kvg::cuda
