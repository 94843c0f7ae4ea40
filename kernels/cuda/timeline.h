#pragma once

#include "kernels/phase.h"

#include <cstddef>
#include <vector>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// Events kept for reuse, so that none is created between two launches that are timed.
class EventPool {
 public:
  EventPool() = default;
  ~EventPool();
  EventPool(const EventPool&) = delete;
  EventPool& operator=(const EventPool&) = delete;

  // Makes sure that `count` can be taken without creating one.
  void reserve(size_t count);
  cudaEvent_t take();
  void give(cudaEvent_t event) { free_.push_back(event); }

 private:
  std::vector<cudaEvent_t> free_;
};

// What one pass over a stream did, phase by phase: stretches of time between events, and what the
// launches declared.
class PhaseTimeline {
 public:
  // `captured`: the stream is being captured; the events fire at each replay of the graph.
  PhaseTimeline(EventPool& events, cudaStream_t stream, bool captured);
  ~PhaseTimeline();
  PhaseTimeline(const PhaseTimeline&) = delete;
  PhaseTimeline& operator=(const PhaseTimeline&) = delete;

  // Ends the stretch in progress and, when `timed`, begins one of `phase`.
  void phase(Phase phase, bool timed);
  void close();
  Phase current() const { return current_; }
  // A launch of the phase in progress.
  void declare(int64_t bytes, int64_t flops);

  // All events must have fired.
  PhaseLedger ledger() const;
  void clear();

 private:
  struct Stretch {
    Phase phase;
    size_t begin, end;  // in events_
  };
  size_t record();

  EventPool& pool_;
  cudaStream_t stream_;
  bool captured_;
  std::vector<cudaEvent_t> events_;
  std::vector<Stretch> stretches_;
  PhaseLedger declared_{};
  Phase current_ = Phase::embed;
  bool open_ = false;
  size_t begin_ = 0;
};

// What a stretch without work between its two events takes inside a graph: the part of every timed
// stretch that is the timing itself. Median of many.
double measure_empty_stretch(EventPool& events, cudaStream_t stream);

}  // namespace kvg::cuda
