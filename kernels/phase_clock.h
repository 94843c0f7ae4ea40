#pragma once

#include "kernels/phase.h"

#include <chrono>

namespace kvg {

// The ledger of a host set: wall time between one call of phase() and the next.
class PhaseClock {
 public:
  void phase(Phase phase, int layer) {
    close();
    current_ = phase;
    open_ = options_.covers(layer);
  }
  void trace(const TraceOptions& options) {
    options_ = options;
    ledger_ = {};
    open_ = false;
  }
  PhaseLedger take() {
    close();
    const PhaseLedger ledger = ledger_;
    ledger_ = {};
    return ledger;
  }

 private:
  using Clock = std::chrono::steady_clock;
  void close() {
    const Clock::time_point now = Clock::now();
    if (open_) {
      PhaseWork& work = ledger_[static_cast<size_t>(current_)];
      work.seconds += std::chrono::duration<double>(now - last_).count();
      ++work.intervals;
    }
    open_ = false;
    last_ = now;
  }

  TraceOptions options_;
  PhaseLedger ledger_{};
  Phase current_ = Phase::embed;
  bool open_ = false;
  Clock::time_point last_;
};

}  // namespace kvg
