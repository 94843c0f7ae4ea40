#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/live_tokens.cuh"
#include "kernels/cuda/landmark/scan.h"

#include <cstdint>

namespace kvg::cuda {

// One comparison of up to 16 tokens with the exact bank. An eviction of at most 16 tokens is one
// pass; of a larger one all tokens are compared first, which tells the order of equal gates, and
// then its candidates, which are few, 16 at a time.
struct ExactPass {
  enum Kind : int8_t { whole, match, group };
  Kind kind = whole;
  int32_t row = 0;                // of the eviction's first token that is not pinned
  int32_t tokens = 0;             // of the eviction, without pinned ones
  int32_t candidates = 0;         // of the eviction
  int32_t first = 0, count = 0;   // tokens of this pass; of a group: candidates
  int32_t pin_row = 0, pins = 0;  // tokens to pin before
  int32_t snapshot = -1;          // taken afterwards

  // Its products can only be taken after the writes of the pass before.
  __device__ bool waits() const { return kind == group || pins > 0; }
  __device__ bool opens() const { return first == 0 && kind != group; }  // an eviction
};

// Walks through the passes of an eviction after the other.
class ExactPasses {
 public:
  // Tokens below `sinks` are pinned; row 0 is of position `first_position`.
  __device__ ExactPasses(const LiveRules& rules, int64_t first_position)
      : candidates_(rules.exact_candidates), first_(rules.sinks - first_position) {}

  __device__ bool done() const { return done_; }

  __device__ void open(const LandmarkScanStep& step) {
    const auto row = static_cast<int32_t>(min(max(int64_t{step.begin}, first_), int64_t{step.end}));
    pass_ = {};
    pass_.row = row;
    pass_.tokens = step.end - row;
    pass_.candidates = min(candidates_, pass_.tokens);
    pass_.pin_row = step.begin;
    pass_.pins = row - step.begin;
    snapshot_ = step.snapshot;
    next_ = 0;
    done_ = false;
    const bool compares = pass_.candidates > 0 && pass_.tokens > kLiveTile;
    pass_.kind = compares ? ExactPass::match : ExactPass::whole;
  }

  __device__ ExactPass next() {
    ExactPass pass = pass_;
    const bool of_candidates = pass.kind == ExactPass::group;
    const int32_t all = of_candidates || pass.candidates == 0 ? pass.candidates : pass.tokens;
    pass.first = next_;
    pass.count = min(kLiveTile, all - next_);
    next_ += kLiveTile;
    const bool last = next_ >= all;
    done_ = last && pass.kind != ExactPass::match;
    if (done_) pass.snapshot = snapshot_;
    if (last && !done_) {
      pass_.kind = ExactPass::group;
      next_ = 0;
    }
    pass_.pins = 0;
    return pass;
  }

 private:
  int32_t candidates_;
  int64_t first_;  // row of the first token that is not pinned
  ExactPass pass_;
  int32_t next_ = 0, snapshot_ = -1;
  bool done_ = true;
};

// Of a scan; one warp.
class ScanPasses {
 public:
  __device__ ScanPasses(const LandmarkScanLaunch& scan, const LiveRules& rules)
      : steps_(scan.steps, scan.step_count), passes_(rules, scan.first_position) {}
  __device__ bool next(ExactPass& pass) {
    if (passes_.done()) {
      LandmarkScanStep step;
      if (!steps_.next(step)) return false;
      passes_.open(step);
    }
    pass = passes_.next();
    return true;
  }

 private:
  LiveSteps steps_;
  ExactPasses passes_;
};

}  // namespace kvg::cuda
