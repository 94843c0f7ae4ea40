#pragma once

#include "kernels/phase.h"

#include <memory>

namespace kvg::cuda {

// The phases as ranges that Nsight shows: NVTX domain "kvgauge", one registered string a phase, the
// layer as payload. Phases of a repeated step are called "step.attention" and so on, so that
// decoding can be told from the prefill before it. "replay" lies around each replay of a graph (the
// ranges inside of it mark its recording only). Off at first; then a call costs one test.
class TraceRanges {
 public:
  TraceRanges();
  ~TraceRanges();

  void turn(bool on);
  bool on() const { return domain_ != nullptr; }
  // Phases from here on belong to a repeated step, or no longer do.
  void step(bool inside) {
    end();
    in_step_ = inside;
  }
  // Ends the range in progress, if any, and begins one.
  void phase(Phase phase, int layer) {
    if (domain_ != nullptr) begin_phase(phase, layer);
  }
  void replay() {
    if (domain_ != nullptr) begin_replay();
  }
  void end();

 private:
  struct Domain;
  void begin_phase(Phase phase, int layer);
  void begin_replay();

  std::unique_ptr<Domain> domain_;
  bool open_ = false;
  bool in_step_ = false;
};

}  // namespace kvg::cuda
