#pragma once

#include "kernels/decode.h"
#include "model/cache/policy.h"
#include "model/forward.h"
#include "model/sequence.h"
#include "model/weights.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace kvg {

struct DecodeOptions {
  Sampling sampling;
  // Replays one recorded step; otherwise its operations are issued anew each time. Same bits.
  bool recorded = true;
  // False leaves the bank step out, to measure it by removal. What leaves the window is then lost:
  // the caches are no longer the method's.
  bool evict = true;
};

// A batch of sequences that each take one token a step. Everything a step needs stays on the set's
// device: tokens, positions, the chosen tokens; step() does not wait for it.
//
// Each sequence starts with a token it has not taken in yet: the one that was chosen from the
// logits of its prefill. A step takes the newest token of every sequence in and chooses the next.
class DecodeBatch {
 public:
  // tokens: [states], the first token of each. Caches get room for `max_new_tokens` steps; nobody
  // else may touch the states before finish(). Weights, policy and operations must outlive the
  // batch. Throws Error when the buffers do not fit in memory.
  DecodeBatch(const Weights& weights, const Policy& policy, Ops& ops,
              std::vector<SequenceState*> states, std::span<const int32_t> tokens,
              int64_t max_new_tokens, const DecodeOptions& options = {});
  ~DecodeBatch();
  DecodeBatch(const DecodeBatch&) = delete;
  DecodeBatch& operator=(const DecodeBatch&) = delete;

  // Records the step anew, timed or not as Ops::trace() says now. The first step() does it too.
  void record();
  // One token for every sequence. At most max_new_tokens times.
  void step();
  int64_t steps() const;
  int64_t max_steps() const;  // max_new_tokens

  // The newest choice of every sequence, not taken in yet: [states]. Waits for the device. Throws
  // Error when the logits of a sequence were not finite.
  std::vector<int32_t> newest() const;
  // The next step takes these in instead of the newest choices: [states].
  void force(std::span<const int32_t> tokens);
  // All choices: [states][steps]. Waits for the device.
  std::vector<std::vector<int32_t>> tokens() const;
  // Logits of the last step, on the device: [states, vocab] wide.
  Tensor logits() const;

  // Brings the states' own account (lengths, ends of rings) up to the steps made so far. After it
  // the states can be used as before; step() may still follow if they were not.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvg
