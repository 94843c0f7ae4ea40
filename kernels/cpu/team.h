#pragma once

#include "kernels/cpu/blas.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

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

// What each thread has for itself; aligned so that threads share no cache line.
struct alignas(64) Worker {
  Blas blas;
  Scratch<float> floats;
};

// The threads of one set of operations. Work is always cut into pieces by the shapes alone and then
// dealt to threads, so that results are the same bits for every number of threads and every run.
//
// The caller works too, and waits only for helpers that hold a piece: on a machine with other
// things to do, a helper that the scheduler keeps away costs its speed-up and nothing else.
// (OpenMP's barrier waits for every thread; with two busy neighbours on two cores a region of
// microseconds was measured at 16 ms.) Idle helpers spin for some tens of microseconds, the gap
// between two operations of a decode step, then sleep. One caller at a time.
class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // function(worker, i) for i = 0..n-1, in any order. One thread does it all when `work` (about one
  // flop or byte a unit) would not repay calling the others, some 2 microseconds. The first
  // exception of a piece is thrown again here, after all threads have let go.
  template <typename Function>
  void for_each(int64_t n, double work, Function function) {
    if (work < kWorthSharing || n < 2 || helpers_.empty()) {
      for (int64_t i = 0; i < n; ++i) function(workers_[0], i);
      collect_blas_time(1);
      return;
    }
    const auto piece = [](void* context, Worker& worker, int64_t i) {
      (*static_cast<Function*>(context))(worker, i);
    };
    share(n, piece, &function);
    collect_blas_time(workers_.size());
  }

  // Wall time inside BLAS: of each for_each, the mean over its threads.
  double blas_seconds() const { return blas_seconds_; }
  void reset() { blas_seconds_ = 0; }

 private:
  using Piece = void (*)(void* context, Worker& worker, int64_t i);
  static constexpr double kWorthSharing = 2e5;

  void share(int64_t n, Piece piece, void* context);
  void help(Worker& worker);
  void take_pieces(Worker& worker);
  void collect_blas_time(size_t threads);

  std::vector<Worker> workers_;  // the caller's first
  std::vector<std::thread> helpers_;
  double blas_seconds_ = 0;

  // The job. Written only while it is closed and nobody is active.
  Piece piece_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;

  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int> active_{0};      // helpers that may be looking at the job
  std::atomic<bool> open_{false};               // whether a helper may start on it
  alignas(64) std::atomic<uint32_t> calls_{0};  // goes up with every job; helpers sleep on it
  std::atomic<bool> stop_{false};
};

}  // namespace kvg::cpu
