#pragma once

#include "kernels/ops.h"
#include "model/weights.h"

#include <cstdint>
#include <map>

namespace kvg {

// What the timing of an interval adds to a ledger. On a GPU two things do: the events themselves,
// and that a kernel can no longer begin while the one before it ends. In prefill kernels are long
// and the events are all (Ops::empty_interval_seconds). In decode the second counts as well, so it
// is measured on the model's own norms and output projections, all layers in a row as a recorded
// step: once timed between any two of them, once not. 0 on the host.
class IntervalCost {
 public:
  IntervalCost(const Weights& weights, Ops& ops) : weights_(weights), ops_(ops) {}

  double prefill() { return ops_.empty_interval_seconds(); }
  // Of a step of `rows` sequences; measured when it is asked for first.
  double step(int64_t rows);

  // How, in a sentence, for records.
  static const char* method();

 private:
  double measure(int64_t rows);

  const Weights& weights_;
  Ops& ops_;
  std::map<int64_t, double> steps_;
};

}  // namespace kvg
