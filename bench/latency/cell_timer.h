#pragma once

#include "kernels/phase.h"
#include "model/cache/policy.h"
#include "model/decode_batch.h"
#include "model/forward.h"
#include "model/weights.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace kvg {

// How cells are timed.
struct TimingOptions {
  int64_t chunk = 8192;  // most rows of one call, in prefill
  int64_t steps = 64;    // decode steps in one timing; rounded up to whole rounds of eviction
  int stride = 1;        // layers timed in one traced decode step: every stride-th
  int64_t traced_steps = 4;
  int64_t warm_steps = 4;
  uint64_t seed = 0;  // of the prompts
};

// One timing of one stage of a cell. Seconds are those of a pass, or of a mean step, of the whole
// batch.
struct Observation {
  double seconds = 0;
  std::optional<double> traced_seconds, without_bank_seconds;
  std::optional<PhaseLedger> ledger;  // what timing itself costs is taken off
  double interval_seconds = 0;        // cost of timing, taken off every interval of the ledger
  // Of decode on a GPU: what of this cost, over all intervals of a step, is more than the events
  // themselves take: by so much neighbouring kernels overlap where no event stands between them.
  std::optional<double> overlap_seconds;
  int64_t steps = 0;          // of decode
  double evicted_tokens = 0;  // in the pass or in a mean step, all sequences
};

// Sequences that have taken a prompt in, and the token that each chose last.
struct PrefilledBatch {
  std::vector<SequenceState> states;
  std::vector<int32_t> tokens;
};

// Runs one method of a model the way it is served, and times it. Weights and operations must
// outlive it. Prompts are random tokens: times depend on their number, not on what they say. But
// rows of a product that are equal take less power than others, and a card at its power limit is
// faster by it: decode steps of copies of one sequence begin with another token each.
class CellTimer {
 public:
  CellTimer(const Weights& weights, Ops& ops, const Method& method, TimingOptions options);

  // Caches of one sequence that was provisioned for `tokens` tokens, by formula.
  CacheBytes cache_bytes(int64_t tokens) const;
  // Longest sequence that timing decode at `context` makes.
  int64_t longest(int64_t context) const;
  // The plan of decoding, without a batch.
  const DecodePlan& plan() const { return plan_; }

  // Empty caches with room for longest(context). Throws Error when they do not fit.
  std::vector<SequenceState> start(int64_t batch, int64_t context) const;
  // Prefills one sequence, without timing.
  PrefilledBatch prefill_one(int64_t context) const;
  // Makes it a batch by copying the first sequence, its first token included.
  void replicate(int64_t batch, PrefilledBatch* prefilled) const;

  // One call of prefill, about as large as the cell's own: modules are loaded, clocks rise. Returns
  // its seconds.
  double warm_up(int64_t batch, int64_t context) const;
  // All calls of the cell's prefill, through the first layer only: every shape that the operations
  // prepare for on first use has been seen.
  void rehearse(int64_t batch, int64_t context) const;
  // Times prefill of `batch` prompts packed into calls of at most `chunk` rows, until each has its
  // first token: without the bank update, then traced and without timing inside, one right after
  // the other. `traced_first` says which. Short passes are repeated, medians taken. `keep`, when
  // given, receives the batch.
  Observation time_prefill(int64_t batch, int64_t context, bool traced_first,
                           PrefilledBatch* keep) const;
  // Times decode steps of a prefilled batch, which is used up.
  Observation time_decode(PrefilledBatch* prefilled) const;
  // Seconds of a mean step, nothing else; `steps` of them after a warm-up, at whose end `begin` is
  // called.
  double time_steps(DecodeBatch* batch, int64_t steps,
                    const std::function<void()>& begin = {}) const;
  std::unique_ptr<DecodeBatch> decode_batch(PrefilledBatch* prefilled, int64_t max_steps,
                                            const DecodeOptions& options) const;

 private:
  std::vector<int32_t> prefill(Forward& forward, std::span<SequenceState> states,
                               const std::vector<std::vector<int32_t>>& prompts) const;
  std::vector<std::vector<int32_t>> prompts(int64_t batch, int64_t context) const;
  // What timing does to a step.
  struct Traced {
    PhaseLedger ledger{};   // of all layers; work as declared, what timing costs still in it
    double plain = 0;       // seconds of a step without timing
    double timed = 0;       // of a step with the layers of one offset timed, summed over offsets
    int64_t intervals = 0;  // of all offsets
  };
  // Stretches of steps without timing, and of traced ones: visits() of these, which go through the
  // offsets of the stride once or several times.
  int64_t turns() const;
  int64_t visits() const;
  int offset_of(int64_t visit) const { return static_cast<int>(visit % options_.stride); }
  // `first_position`: where the batch began.
  void trace_steps(DecodeBatch* batch, int64_t first_position, int64_t visit, Traced* traced) const;
  // `turn` of turns(); evicted tokens are those of one sequence.
  void plain_steps(DecodeBatch* batch, int64_t first_position, int64_t turn, Traced* traced,
                   Observation* result) const;
  void set_ledger(const Traced& traced, Observation* result) const;
  // Seconds of a mean step out of `calm_steps()` ones in which nothing, or as much as in any
  // others, is evicted.
  double calm_step(DecodeBatch* batch, int64_t first_position) const;
  // The next step takes in a random token of each sequence. Greedy choices of a random model run
  // together: of 256 sequences 50 are left different after 70 steps.
  void disperse(DecodeBatch* batch) const;
  int64_t calm_steps() const;
  int64_t timed_runs() const;    // stretches of neighbouring timed intervals, all offsets together
  int64_t longest_calm() const;  // steps that calm_step() makes at most
  PhaseLedger declared_work(DecodeBatch* batch) const;
  int64_t round() const;  // steps until evictions repeat
  int64_t steps_at(int offset) const;

  const Weights& weights_;
  Ops& ops_;
  Method method_;
  TimingOptions options_;
  std::unique_ptr<Policy> policy_;
  CacheGeometry geometry_;
  DecodePlan plan_;
};

}  // namespace kvg
