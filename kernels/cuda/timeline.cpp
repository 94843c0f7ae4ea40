#include "kernels/cuda/timeline.h"

#include "kernels/cuda/error.h"
#include "kernels/cuda/graph.h"

#include <algorithm>

namespace kvg::cuda {

namespace {

double seconds_between(cudaEvent_t begin, cudaEvent_t end) {
  float milliseconds = 0;
  KVG_CHECK_CUDA(cudaEventElapsedTime(&milliseconds, begin, end));
  return static_cast<double>(milliseconds) * 1e-3;
}

}  // namespace

EventPool::~EventPool() {
  for (const cudaEvent_t event : free_) (void)cudaEventDestroy(event);
}

void EventPool::reserve(size_t count) {
  while (free_.size() < count) {
    cudaEvent_t event = nullptr;
    KVG_CHECK_CUDA(cudaEventCreate(&event));
    free_.push_back(event);
  }
}

cudaEvent_t EventPool::take() {
  if (free_.empty()) reserve(256);
  const cudaEvent_t event = free_.back();
  free_.pop_back();
  return event;
}

PhaseTimeline::PhaseTimeline(EventPool& events, cudaStream_t stream, bool captured)
    : pool_(events), stream_(stream), captured_(captured) {}

PhaseTimeline::~PhaseTimeline() { clear(); }

size_t PhaseTimeline::record() {
  const cudaEvent_t event = pool_.take();
  events_.push_back(event);
  KVG_CHECK_CUDA(cudaEventRecordWithFlags(
      event, stream_, captured_ ? cudaEventRecordExternal : cudaEventRecordDefault));
  return events_.size() - 1;
}

void PhaseTimeline::phase(Phase phase, bool timed) {
  if (open_ || timed) {
    const size_t now = record();
    if (open_) stretches_.push_back({current_, begin_, now});
    begin_ = now;
  }
  current_ = phase;
  open_ = timed;
}

void PhaseTimeline::close() { phase(current_, false); }

void PhaseTimeline::declare(int64_t bytes, int64_t flops) {
  PhaseWork& work = declared_[static_cast<size_t>(current_)];
  ++work.launches;
  work.bytes += bytes;
  work.flops += flops;
}

PhaseLedger PhaseTimeline::ledger() const {
  PhaseLedger ledger = declared_;
  for (const Stretch& stretch : stretches_) {
    PhaseWork& work = ledger[static_cast<size_t>(stretch.phase)];
    work.seconds += seconds_between(events_[stretch.begin], events_[stretch.end]);
    ++work.intervals;
  }
  return ledger;
}

void PhaseTimeline::clear() {
  for (const cudaEvent_t event : events_) pool_.give(event);
  events_.clear();
  stretches_.clear();
  declared_ = {};
  open_ = false;
}

double measure_empty_stretch(EventPool& events, cudaStream_t stream) {
  constexpr int kStretches = 64;
  constexpr int kReplays = 32;
  std::vector<cudaEvent_t> marks;
  const Graph graph(stream, [&] {
    for (int i = 0; i <= kStretches; ++i) {
      marks.push_back(events.take());
      KVG_CHECK_CUDA(cudaEventRecordWithFlags(marks.back(), stream, cudaEventRecordExternal));
    }
  });
  std::vector<double> seconds;
  for (int replay = 0; replay < kReplays; ++replay) {
    graph.launch(stream);
    KVG_CHECK_CUDA(cudaStreamSynchronize(stream));
    for (size_t i = 0; i < kStretches; ++i) {
      seconds.push_back(seconds_between(marks[i], marks[i + 1]));
    }
  }
  for (const cudaEvent_t mark : marks) events.give(mark);
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

}  // namespace kvg::cuda
