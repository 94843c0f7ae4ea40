#pragma once

#include "kernels/ops.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace kvg {

// Seconds of `work`, host clock, everything that it issued included.
double timed(Ops& ops, const std::function<void()>& work);

// What the machine does at best, measured through the same operations as everything else: the best
// of several runs after a warm-up.
struct MachineCeilings {
  double copy_bytes_per_second = 0;  // bytes read plus bytes written, within the set's memory
  int64_t copy_bytes = 0;
  double linear_flops_per_second = 0;
  std::vector<int64_t> linear_shape;  // rows, in, out
};

// On a GPU about a second; on the host a smaller copy and product, a second as well.
MachineCeilings measure_ceilings(Ops& ops, uint64_t seed);

}  // namespace kvg
