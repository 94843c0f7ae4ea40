#include "kernels/cpu/team.h"

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvg::cpu {
namespace {

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Waits for `value` to become something else than `seen`, at first awake, then asleep.
uint32_t await_change(const std::atomic<uint32_t>& value, uint32_t seen) {
  constexpr int kSpins = 2000;
  for (int i = 0; i < kSpins; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (now != seen) return now;
    pause();
  }
  value.wait(seen);
  return value.load();
}

}  // namespace

Team::Team(int threads) : workers_(static_cast<size_t>(threads)) {
  for (size_t i = 1; i < workers_.size(); ++i) {
    helpers_.emplace_back([this, i] { help(workers_[i]); });
  }
}

Team::~Team() {
  stop_ = true;
  ++calls_;
  calls_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void Team::help(Worker& worker) {
  for (uint32_t seen = 0;;) {
    seen = await_change(calls_, seen);
    if (stop_) return;
    // First announce, then look: either the caller sees this helper and waits for it, or the helper
    // sees that the job is closed and keeps off. Both are sequentially consistent.
    ++active_;
    if (open_) take_pieces(worker);
    --active_;
  }
}

void Team::take_pieces(Worker& worker) {
  for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) {
    try {
      piece_(context_, worker, i);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (error_ == nullptr) error_ = std::current_exception();
      next_ = count_;  // the other pieces no longer matter
    }
  }
}

void Team::share(int64_t n, Piece piece, void* context) {
  piece_ = piece;
  context_ = context;
  count_ = n;
  next_ = 0;
  open_ = true;
  ++calls_;
  calls_.notify_all();
  take_pieces(workers_[0]);
  open_ = false;
  for (int spins = 0; active_ > 0; ++spins) {
    pause();
    if (spins > 1000) std::this_thread::yield();
  }
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Team::collect_blas_time(size_t threads) {
  double sum = 0;
  for (Worker& worker : workers_) {
    sum += worker.blas.seconds();
    worker.blas.reset();
  }
  blas_seconds_ += sum / static_cast<double>(threads);
}

}  // namespace kvg::cpu
