#pragma once

#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/layout.h"
#include "kernels/landmark.h"

#include <cstdint>

namespace kvg::cuda {

// The bank update of LandmarkRouting::live as most callers use it (the fixed semantics), for which
// there are kernels of their own: a scan (live_scan.h) and a decode step (live_step.h).
//
// What makes them fast: of a tile of 16 tokens all products with all slots, and with each other,
// are taken at once, by tensor cores. When token x moves the average s to s + r (x - s), the
// product of any later token t with it becomes (1 - r) <t, s> + r <t, x>, and |s|^2 becomes
// (1 - r)^2 |s|^2 + 2 r (1 - r) <s, x> + r^2 |x|^2. So the decisions, which have to be taken one by
// one, need these numbers and no vector; one warp takes them without a barrier. The averages follow
// afterwards, and products are taken anew from them for every tile. A slot of the exact bank is a
// copy of its token, so its product with a later token is known as well.
inline constexpr int kLiveTile = 16;
inline constexpr int kLiveSlots = 64;   // of a bank, at most
inline constexpr int kLiveHeads = 8;    // KV heads at most: a CTA of the cluster each
inline constexpr int kLiveBlock = 256;  // tokens of one eviction at most

// LandmarkRules for kernels. A threshold is the least float that is not below it.
struct LiveRules {
  float tau_gate = 0, tau_novel = 0, tau_summary = 0, tau_merge = 0;
  int32_t exact_candidates = 0;
  int32_t sinks = 0;
  bool novelty = false;
  bool gated_rate = false;
};
LiveRules live_rules(const LandmarkRules& rules);

// Whether these kernels apply to evictions of at most shape.most_tokens; `end` is the position
// after the last token, `single` as in LandmarkStep.
bool is_live(const LandmarkRules& rules, const LandmarkShape& shape, const LandmarkBank& bank,
             bool single, int64_t end);
// Whether they can leave such a snapshot: averages in bf16, as attention reads them.
bool is_live_snapshot(const LandmarkBank& snapshot);

}  // namespace kvg::cuda
