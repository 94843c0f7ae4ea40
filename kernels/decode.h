#pragma once

#include "kernels/landmark.h"
#include "kernels/ops.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

// One decode step of a batch of sequences, one new token each, as data: what is stored, evicted and
// read is a function of the token's position alone. So a set of operations may keep all state on
// its device, work on all sequences at once and replay a recorded step, without the host in
// between.
//
// A step at positions p[s]:  decode_evict (all layers at once: what leaves the windows is known
// before the new token is), then for each layer prepare_heads and decode_attention, at the end
// sample, which moves the positions on.
namespace kvg {

// Where tokens go that leave the window.
enum class DecodeBank : uint8_t { none, landmark, random };

// What holds for every layer and sequence of the batch.
struct DecodePlan {
  int64_t sequences = 0;
  int64_t layers = 0;
  int64_t max_tokens = 0;  // longest length a sequence may reach
  int heads = 0, kv_heads = 0, head_dim = 0, streams = 1;

  int64_t sinks = 0;   // tokens [0, sinks) live in DecodeCache::sinks at slot = position, for ever
  int64_t window = 0;  // capacity of the recent slots; 0: nothing ever leaves
  int64_t block = 1;   // the window gives up its oldest tokens `block` at a time (EvictionGrid)
  // In-cache position of a query in the frame that reads the sinks: min(position, bank_limit).
  // -1: one frame.
  int64_t bank_limit = -1;

  DecodeBank bank = DecodeBank::none;
  LandmarkRules rules;             // landmark
  bool single = false;             // landmark: LandmarkStep::single
  std::vector<int32_t> slow_dims;  // landmark
  uint64_t seed = 0;               // random

  int frames() const { return bank_limit >= 0 ? 2 : 1; }
  // First position that the query at `position` finds among the recent slots. Tokens before it that
  // are no sinks have been evicted.
  constexpr int64_t first_recent(int64_t position) const {
    if (window == 0) return sinks;
    return std::max(sinks, position / block * block - (window - block));
  }
  // Tokens [evict_begin, evict_end) leave the window at the step of `position`, before it is
  // stored.
  constexpr int64_t evict_begin(int64_t position) const {
    return position == 0 ? sinks : first_recent(position - 1);
  }
  constexpr int64_t evict_end(int64_t position) const { return first_recent(position); }
  // Slot of a position >= sinks among the recent ones, of capacity `capacity`.
  constexpr int64_t recent_slot(int64_t position, int64_t capacity) const {
    return (position - sinks) % capacity;
  }
};

// The random bank's slot for the token that is the `position`-th to be evicted (reservoir sampling;
// also the policy's own rule), or a value >= capacity: it is dropped.
int64_t random_bank_slot(uint64_t seed, int32_t layer, int64_t position, int64_t capacity);

// One layer of one sequence. All memory is the set's own and stays in place while the state lives.
struct DecodeCache {
  SlotStore recent;             // capacity >= window, or >= max_tokens when nothing leaves
  SlotStore sinks;              // capacity = DecodePlan::sinks
  LandmarkBank landmark;        // bank == landmark
  float* gates = nullptr;       // bank == landmark: [window] of position p at p mod window
  const double* eta = nullptr;  // bank == landmark: [kv_heads] on the host, outlives the state
  SlotStore random;             // bank == random: slot i is in use once i + 1 tokens were evicted
};

// A batch made ready for decoding. A set of operations derives its own, with tables on its device.
class DecodeState {
 public:
  // caches [layers][sequences]
  DecodeState(DecodePlan plan, std::vector<DecodeCache> caches);
  virtual ~DecodeState() = default;
  const DecodePlan& plan() const { return plan_; }
  const DecodeCache& cache(int64_t layer, int64_t sequence) const {
    return caches_[static_cast<size_t>(layer * plan_.sequences + sequence)];
  }

 private:
  DecodePlan plan_;
  std::vector<DecodeCache> caches_;
};

// Stores the new token of each sequence in its layer's cache (K, V, and the gate where there is a
// landmark bank), then attends from it to all that is readable; AttentionParams says how.
struct DecodeAttentionParams {
  DecodeState* state = nullptr;
  int32_t layer = 0;
  Tensor positions;  // [sequences] i64
  Tensor q;          // [frames * sequences, streams, H, head_dim]
  Tensor k;          // [sequences, Hkv, head_dim]
  Tensor v;          // [sequences, Hkv, head_dim]
  Tensor gate;       // [sequences] wide
  Tensor lambda;     // [sequences, H] wide, empty for one stream
  Tensor head_norm;  // [head_dim] or empty
  double head_norm_eps = 1e-6;
  double scale = 0;
  // Positions as the host knows them when the call is made; a recorded step only uses them to
  // declare its bytes and FLOPs. [sequences]
  std::span<const int64_t> known_positions;
  Tensor out;  // [sequences, H, head_dim]
};

// Chooses the token after each row's (kernels/sample.h, with the position of that next token; a row
// without a finite logit gives -1) and, when `advance`, moves the step on: positions[r] += 1,
// bank_positions[r] = min(positions[r], bank_limit).
struct SampleParams {
  Tensor logits;           // [rows, vocab] wide
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  uint64_t seed = 0;
  Tensor positions;  // [rows] i64 of the tokens that gave the logits
  Tensor tokens;     // [rows] i32, written: the chosen ones
  bool advance = false;
  Tensor bank_positions;  // [rows] i64 or empty
  int64_t bank_limit = -1;
  // Every choice, kept: history[r, positions[r] - first_positions[r]] (positions before advancing);
  // columns past the end are not written.
  Tensor history;          // [rows, columns] i32 or empty
  Tensor first_positions;  // [rows] i64
};

// A step that can be repeated without the host issuing its operations again.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

// The definition, for the host sets and as the judge in tests: the step put together from store,
// load, landmark and attention. Host memory only.
void composed_decode_evict(Ops& ops, DecodeState& state, const Tensor& positions);
void composed_decode_attention(Ops& ops, const DecodeAttentionParams& params);
void host_sample(const SampleParams& params);

}  // namespace kvg
