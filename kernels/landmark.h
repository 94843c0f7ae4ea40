#pragma once

#include "kernels/codec.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"

#include <cstdint>
#include <limits>
#include <span>

// The bank update of the `landmark` retention (CoDA-GQA-L,
// https://github.com/anthony-maio/CoDA-GQA-L, package coda-gqa-l 1.3.1). Tokens that leave the
// window are offered to two banks, one decision for all KV heads:
//   exact bank    keeps a token as it is when its write gate is high and its value is unlike every
//   kept
//                 one (mean cosine of the values over KV heads); a full bank gives up the slot that
//                 was touched longest ago;
//   summary bank  keeps running averages of tokens whose keys point the same way within the slow
//   RoPE dimensions.
// Averaging keys of different positions would cancel their fast dimensions, so a summary key holds
// only the slow ones; the others are zero. (A control calls all of them slow.)
namespace kvg {

// In which order the tokens of one eviction are offered; the first `exact_candidates` go to the
// exact bank.
enum class LandmarkOrder : uint8_t {
  sorted,  // gate descending, ties by LandmarkTie
  index,   // published: of the best k, those above the k-th gate by position, then its ties by
           // position (what torch.topk(sorted=False) yields on CUDA)
};

// Order of equal gates under LandmarkOrder::sorted.
enum class LandmarkTie : uint8_t {
  position,  // oldest first
  novelty,   // least similar to the exact bank first, then oldest: all that a model without gates
             // has
};

// What the tokens of one eviction are compared with.
enum class LandmarkRouting : uint8_t {
  live,  // the banks as the tokens before them left them; summary averages take one token at a time
  torch,   // published PyTorch path: the banks at the start of the eviction; tokens do not see each
           // other and a summary slot takes the gate-weighted mean of its tokens in one step
  triton,  // published Triton path: as torch, but slots and stamps of the exact bank are live,
           // compared by the values they held at the start; tokens neither novel nor hits touch
           // nothing
};

// When a token opens a summary slot.
enum class LandmarkInsert : uint8_t {
  free,     // when no used slot is similar enough (tau_merge) and one is free
  compete,  // published: unused slots take part in the comparison with whatever they contain
};

struct LandmarkRules {
  double tau_gate = 0.10;     // exact bank: least gate
  double tau_novel = 0.70;    // exact bank: below, a token is novel and is written
  double tau_match = 0.90;    // exact bank: from here, it is a hit
  double tau_summary = 0.05;  // summary bank: least gate
  double tau_merge = 0.90;    // summary bank, LandmarkInsert::free: from here, a token joins a slot
  int64_t exact_candidates = 8;  // of one eviction
  int64_t summary_candidates = std::numeric_limits<int64_t>::max();
  int64_t sinks = 0;  // exact slots [0, sinks) are for tokens [0, sinks) and never given up
  LandmarkOrder order = LandmarkOrder::sorted;
  LandmarkTie tie = LandmarkTie::novelty;
  LandmarkRouting routing = LandmarkRouting::live;
  LandmarkInsert insert = LandmarkInsert::free;
  bool gated_rate = true;           // the averages' rate is eta * gate, not eta
  bool refresh_on_hit = false;      // a hit replaces the slot it hits
  bool overwrite_on_insert = true;  // the first token of a summary slot replaces its content
  // Published: summary keys are scaled by sqrt(head_dim / slow dimensions), to be as long as whole
  // ones. The fast dimensions of far keys add nothing to a logit on average, so without the scale
  // the logit of the others is already unbiased.
  bool energy_scale = false;
  bool delta_copy = false;  // published: exact slots are written as m + (k - m)
  // Published: scores and updates are rounded to bf16 after every operation.
  bool bf16_arithmetic = false;
};

// Both banks of one layer and one sequence. A snapshot has only what attention reads; the rest is
// null.
struct LandmarkBank {
  SlotStore exact;
  SlotStore summary;                 // its codecs may drop the fast dimensions, and must not rotate
  uint8_t* exact_valid = nullptr;    // [exact]
  uint8_t* summary_valid = nullptr;  // [summary]
  float* log_weight = nullptr;       // [summary] log of `counts`, or null
  // [summary] tokens that the slot stands for, forgotten at the rate of the average: with rate r, n
  // becomes (1 - r) n + 1, at most 1/r; or null
  float* counts = nullptr;
  int64_t* stamps = nullptr;  // [exact] position of the token that last wrote or touched the slot
  // An instrument, in host memory: [exact] position of the token that the slot holds as it was, -1:
  // none (the stamps are moved by touches); null: not kept. Snapshots have it too.
  int64_t* positions = nullptr;
  // Published: resident normalised copies that tokens are compared with, bf16 under
  // bf16_arithmetic, f32 otherwise; null: computed from the slots.
  void* exact_unit = nullptr;    // [kv_heads, exact, head_dim], of values in the codec's frame
  void* summary_unit = nullptr;  // [kv_heads, summary, slow dimensions], of keys
};

// One eviction, then, if wanted, a copy of what is readable.
struct LandmarkStep {
  int64_t begin = 0, end = 0;  // rows of LandmarkParams::k; steps follow each other
  // Published decode: a token that leaves alone always moves an average by eta * gate.
  bool single = false;
  // Same codecs and capacities as the bank; or, in its summary, bf16 of whole vectors, to which
  // averages are rounded: what attention reads where it computes in bf16. Null: none.
  const LandmarkBank* snapshot = nullptr;
};

struct LandmarkParams {
  Tensor k;  // [tokens, kv_heads, head_dim] as the window held them
  Tensor v;  // [tokens, kv_heads, head_dim]
  // Elements from one token to the next, and from one head to the next, in k and in v, at least
  // head_dim; 0 for both: packed. Not packed, as in slots, only where
  // Ops::landmark_takes_strides().
  int64_t token_stride = 0;
  int64_t head_stride = 0;
  Tensor gate;                 // [tokens] f32
  int64_t first_position = 0;  // of row 0
  int32_t layer = 0;
  const double* eta = nullptr;         // [kv_heads] host, rate of the averages in (0, 1)
  std::span<const int32_t> slow_dims;  // ascending, at most head_dim of them
  LandmarkBank bank;                   // updated in place
  LandmarkRules rules;
  // Before the first step, computes the resident normalised copies from the slots: for banks that
  // were filled from outside.
  bool refresh_units = false;
  std::span<const LandmarkStep> steps;
  // The update may still be under way when later operations run, until attention in this layer or
  // another update of it: k, v, gate and snapshots must stay until then. Sets that do one thing
  // after another ignore it.
  bool beside = false;
};

inline bool is_packed(const LandmarkParams& p) { return p.token_stride == 0 && p.head_stride == 0; }

// Shapes and the consistency of codecs, capacities and steps; `scalar` is the type of k and v.
void check(const LandmarkParams& params, DType scalar);

}  // namespace kvg
