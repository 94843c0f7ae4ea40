#pragma once

#include "bench/kernels/harness.h"
#include "bench/kernels/regime.h"

#include <functional>
#include <memory>
#include <vector>

namespace kvg {

// One side of a comparison: its tensors, in as many copies as make it cold, and the batch of
// launches that rotates through them.
class Turns {
 public:
  Turns(Workbench& bench, const std::function<Work(Tensors&)>& make, bool cold,
        const Regime& regime);
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Seconds a launch; then the device rests.
  double next();
  // Whether caches are swept between launches: the device does more than launch them.
  bool swept() const { return swept_; }
  // Until three times in a row agree within 1 %.
  void warm_up();

 private:
  class Batch;
  Work add(Workbench& bench, const std::function<Work(Tensors&)>& make);

  double rest_;
  bool swept_ = false;
  std::vector<std::unique_ptr<Tensors>> memory_;  // outlives the batch
  std::unique_ptr<Batch> batch_;
};

}  // namespace kvg
