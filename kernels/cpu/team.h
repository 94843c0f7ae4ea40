#pragma once

#include "kernels/cpu/blas.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include <omp.h>

namespace kvg::cpu {

// Memory that only grows, so that a warm operation allocates nothing. Contents are lost on growth.
template <typename T>
class Scratch {
 public:
  T* reserve(int64_t n) {
    if (memory_.size() < static_cast<size_t>(n)) memory_.resize(static_cast<size_t>(n));
    return memory_.data();
  }

 private:
  std::vector<T> memory_;
};

// What each thread of a parallel region has for itself; aligned so that threads share no cache
// line.
struct alignas(64) Worker {
  Blas blas;
  Scratch<float> floats;
};

// The threads of one set of operations. Work is always cut into pieces by the shapes alone and then
// dealt to threads, so that results are the same bits for every number of threads and every run.
class Team {
 public:
  explicit Team(int threads) : workers_(static_cast<size_t>(threads)) {}

  int threads() const { return static_cast<int>(workers_.size()); }
  Worker& worker(int thread) { return workers_[static_cast<size_t>(thread)]; }

  // function(worker, i) for i = 0..n-1. One thread does it all when `work` (about one flop or byte
  // a unit) would not repay the start of a region, some 2 microseconds.
  template <typename Function>
  void for_each(int64_t n, double work, Function function) {
    const int threads = work < kWorthSharing || n < 2 ? 1 : this->threads();
    if (threads == 1) {
      for (int64_t i = 0; i < n; ++i) function(workers_[0], i);
    } else {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
      for (int64_t i = 0; i < n; ++i) function(worker(omp_get_thread_num()), i);
    }
    collect(threads);
  }

  // Wall time inside BLAS: of each region, the mean over its threads.
  double blas_seconds() const { return blas_seconds_; }
  void reset() { blas_seconds_ = 0; }

 private:
  static constexpr double kWorthSharing = 2e5;

  void collect(int threads) {
    double sum = 0;
    for (Worker& worker : workers_) {
      sum += worker.blas.seconds();
      worker.blas.reset();
    }
    blas_seconds_ += sum / threads;
  }

  std::vector<Worker> workers_;
  double blas_seconds_ = 0;
};

}  // namespace kvg::cpu
