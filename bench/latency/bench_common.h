#pragma once

#include "base/error.h"
#include "model/method.h"
#include "model/weights.h"

#include <atomic>
#include <cstdint>
#include <vector>

namespace kvg {

// Bytes that a pass over `rows` new tokens works in, besides caches: activations, heads, logits. An
// estimate from the geometry, for saying before a run that a cell cannot fit.
uint64_t working_bytes(const Weights& weights, const Ops& ops, int64_t rows);

// `count` things in an order of their own for every round.
std::vector<size_t> shuffled(size_t count, uint64_t seed, int64_t round);

double median(std::vector<double> values);
// Between the two values nearest to place q of [0, 1] in sorted order.
double quantile(std::vector<double> values, double q);

// A run that was asked to stop; unlike an evaluation it is not resumed.
class BenchInterrupted : public Interrupted {
 public:
  const char* what() const noexcept override {
    return "interrupted: what was measured is saved; a new run starts anew";
  }
};

inline bool stop_requested(const std::atomic<bool>* stop) {
  return stop != nullptr && stop->load(std::memory_order_relaxed);
}

}  // namespace kvg
