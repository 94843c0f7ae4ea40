#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/live_tokens.cuh"
#include "kernels/cuda/landmark/vectors.cuh"

#include <cstdint>

// Where the tokens of a tile go in the summary bank. A decision is the slot, plus kOpens when the
// token opens it, or -1 for a token that is not offered.
namespace kvg::cuda {

inline constexpr int kOpens = 256;

// Of scores [t', slot].
inline constexpr int kScoreStride = kLiveSlots + 1;

// Floats as integers of the same order (NaN aside), and back.
__device__ inline int ordered(float x) {
  const int bits = __float_as_int(x);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
__device__ inline float unordered(int key) {
  return __int_as_float(key ^ ((key >> 31) & 0x7fffffff));
}

__device__ inline int warp_max_int(int x) {
#if __CUDA_ARCH__ >= 800
  return __reduce_max_sync(kWarp, x);
#else
  return x;
#endif
}

struct LiveBest {
  float score;
  int slot;
};

// The highest of two scores a lane, those of slots `lane` and `lane + 32`; the first of equals.
__device__ inline LiveBest warp_best_of(float low, float high) {
  const int low_key = ordered(low);
  const int high_key = ordered(high);
  const int most = warp_max_int(max(low_key, high_key));
  const unsigned in_low = __ballot_sync(kWarp, low_key == most);
  const unsigned in_high = __ballot_sync(kWarp, high_key == most);
  const int slot = in_low != 0 ? __ffs(static_cast<int>(in_low)) - 1
                               : __ffs(static_cast<int>(in_high)) + 31;
  return {unordered(most), slot};
}

// The first slot of `slots` that is not in `valid`, -1: none.
__device__ inline int free_slot(uint64_t valid, int slots) {
  const int slot = __ffsll(static_cast<long long>(~valid)) - 1;
  return slot < slots ? slot : -1;
}

// What the decisions of a tile do to products with tokens of later tiles.
struct LiveMoves {
  int decision[kLiveTile];
  float gate[kLiveTile];
  // [t, head] When token t moves a slot at rate r, its |slot|^2 becomes (1 - r)^2 |slot|^2 + this.
  float added[kLiveTile * kLiveHeads];
};

// Takes the decisions of one tile after the other; one warp. Lanes 0 .. 15 have a row t' each and
// the first four heads, lanes 16 .. 31 the same rows and the others. Parts of heads that do not
// exist are zero. Scores are sums over heads.
//
// What bounds a token is one chain: the slot of the token before, products and norms of that slot,
// their new score with this token, the comparison with the best of the other slots. Everything else
// is started before it or done beside it.
class SummaryRouter {
 public:
  __device__ SummaryRouter(const LiveRules& rules, const float* eta, int kv_heads, int slots,
                           uint64_t valid)
      : tau_summary_(rules.tau_summary),
        tau_merge_(rules.tau_merge * static_cast<float>(kv_heads)),
        gated_(rules.gated_rate),
        slots_(slots),
        valid_(valid),
        unused_(free_slot(valid, slots)) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int head = lane_id() / 16 * 4 + k;
      eta_[k] = head < kv_heads ? eta[head] : 0;
    }
  }

  __device__ uint64_t valid() const { return valid_; }

  // parts [heads, SummaryPart], kStride apart, of which products and squares move on; scores
  // [t', slot], -infinity in unused slots. `gate`: that of token lane_id(). Leaves LiveMoves and
  // returns the decision about token lane_id().
  __device__ int route(float* parts, float* scores, int count, float gate, LiveMoves& moves) {
    const int lane = lane_id();
    const int row = lane % 16;
    float* mine = parts + lane / 16 * 4 * SummaryPart::kStride;
    int decision = -1;
    if (lane < kLiveTile) moves.gate[lane] = gate;
    unsigned left = __ballot_sync(kWarp, gate >= tau_summary_) & ((1u << count) - 1);
    if (left != 0) {
      int t = __ffs(static_cast<int>(left)) - 1;
      Token token = read_token(mine, t, gate);
      LiveBest best = warp_best_of(scores[t * kScoreStride + lane],
                                   scores[t * kScoreStride + lane + 32]);
      for (;;) {
        const bool opens = !(best.score >= tau_merge_) && unused_ >= 0;
        const int slot = opens ? unused_ : best.slot;
        float* column = mine + SummaryPart::kSlots + slot * kLiveTile;
        float* square = mine + SummaryPart::kSquares + slot;
        float own[4], with_token[4], squares[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          own[k] = column[k * SummaryPart::kStride + row];
          with_token[k] = column[k * SummaryPart::kStride + t];
          squares[k] = square[k * SummaryPart::kStride];
        }
        left &= left - 1;
        const int following = left != 0 ? __ffs(static_cast<int>(left)) - 1 : t;
        const float low = scores[following * kScoreStride + lane];
        const float high = scores[following * kScoreStride + lane + 32];
        const Token next = read_token(mine, following, gate);
        const LiveBest rest = warp_best_of(lane == slot ? -INFINITY : low,
                                           lane + 32 == slot ? -INFINITY : high);
        float added[4], part[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float rate = opens ? 1.0f : gated_ ? eta_[k] * token.gate : eta_[k];
          const float stays = 1 - rate;
          own[k] = fmaf(rate, token.product[k] - own[k], own[k]);
          const float twice = 2 * rate * token.norm[k];
          added[k] = fmaf(stays, twice * with_token[k], rate * rate * token.square[k]);
          squares[k] = fmaf(stays * stays, squares[k], added[k]);
          part[k] = own[k] * inverse_norm(squares[k]);
        }
        const float half = (part[0] + part[1]) + (part[2] + part[3]);
        const float score =
            __shfl_sync(kWarp, half, following) + __shfl_sync(kWarp, half, following + 16);
        const float whole = half + __shfl_xor_sync(kWarp, half, 16);
        __syncwarp();
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          column[k * SummaryPart::kStride + row] = own[k];
          square[k * SummaryPart::kStride] = squares[k];
          moves.added[t * kLiveHeads + lane / 16 * 4 + k] = added[k];
        }
        if (lane < kLiveTile) scores[row * kScoreStride + slot] = whole;
        if (lane == t) decision = opens ? slot + kOpens : slot;
        __syncwarp();
        if (opens) {
          valid_ |= uint64_t{1} << slot;
          unused_ = free_slot(valid_, slots_);
        }
        if (left == 0) break;
        const bool moved = score > rest.score || (score == rest.score && slot < rest.slot);
        best = moved ? LiveBest{score, slot} : rest;
        t = following;
        token = next;
      }
    }
    if (lane < kLiveTile) moves.decision[lane] = decision;
    return decision;
  }

 private:
  // What is needed of the token that moves a slot, by head.
  struct Token {
    float product[4];  // with the lane's row
    float norm[4], square[4];
    float gate;
  };
  __device__ static Token read_token(const float* mine, int t, float gate) {
    Token token;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float* part = mine + k * SummaryPart::kStride;
      token.product[k] = part[SummaryPart::kTokens + t * kLiveTile + lane_id() % 16];
      token.norm[k] = part[SummaryPart::kTokenNorms + t];
      token.square[k] = part[SummaryPart::kTokenSquares + t];
    }
    token.gate = __shfl_sync(kWarp, gate, t);
    return token;
  }

  float tau_summary_, tau_merge_;
  bool gated_;
  int slots_;
  float eta_[4];
  uint64_t valid_;
  int unused_;  // the first unused slot, -1: none
};

// Tokens of a tile by the slot they go to. Of lane_id() < 16: its slot, and as a mask the tokens of
// the same slot; `first`: the first token of every slot.
struct LiveGroups {
  int slot;
  unsigned peers, first;
  __device__ explicit LiveGroups(int decision) {
    slot = decision >= 0 ? decision % kOpens : -1 - lane_id();
    peers = __match_any_sync(kWarp, slot);
    const bool leads = decision >= 0 && (peers & ((1u << lane_id()) - 1)) == 0;
    first = __ballot_sync(kWarp, leads);
  }
  // Calls use(slot, tokens) by all lanes, for every `warps`-th slot.
  template <typename Use>
  __device__ void each(int warp, int warps, Use use) const {
    unsigned leaders = first;
    for (int i = 0; leaders != 0; leaders &= leaders - 1, ++i) {
      if (i % warps != warp) continue;
      const int leader = __ffs(static_cast<int>(leaders)) - 1;
      use(__shfl_sync(kWarp, slot, leader), __shfl_sync(kWarp, peers, leader));
    }
  }
};

// Products and scores of a tile that was compared with the averages as they were before the moves
// of the tile before: what they are after. Warps as in LiveGroups::each().
__device__ inline void follow_moves(const LiveMoves& moves, const LiveRules& rules,
                                    const float* eta, int kv_heads, float* parts, float* scores,
                                    int warp, int warps) {
  const int row = lane_id() % 16;
  const int first_head = lane_id() / 16 * 4;
  float* mine = parts + first_head * SummaryPart::kStride;
  const LiveGroups groups(lane_id() < kLiveTile ? moves.decision[lane_id()] : -1);
  groups.each(warp, warps, [&](int slot, unsigned tokens) {
    float own[4], squares[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float* part = mine + k * SummaryPart::kStride;
      own[k] = part[SummaryPart::kSlots + slot * kLiveTile + row];
      squares[k] = part[SummaryPart::kSquares + slot];
    }
    for (; tokens != 0; tokens &= tokens - 1) {
      const int t = __ffs(static_cast<int>(tokens)) - 1;
      const bool opens = moves.decision[t] >= kOpens;
      const float gate = rules.gated_rate ? moves.gate[t] : 1.0f;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int head = first_head + k;
        const float rate = opens ? 1.0f : head < kv_heads ? eta[head] * gate : 0.0f;
        const float stays = 1 - rate;
        const float product =
            mine[k * SummaryPart::kStride + SummaryPart::kBefore + t * kLiveTile + row];
        own[k] = fmaf(rate, product - own[k], own[k]);
        squares[k] = fmaf(stays * stays, squares[k], moves.added[t * kLiveHeads + head]);
      }
    }
    float score = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      float* part = mine + k * SummaryPart::kStride;
      score = fmaf(own[k], inverse_norm(squares[k]), score);
      part[SummaryPart::kSlots + slot * kLiveTile + row] = own[k];
      part[SummaryPart::kSquares + slot] = squares[k];
    }
    score += __shfl_xor_sync(kWarp, score, 16);
    if (lane_id() < kLiveTile) scores[row * kScoreStride + slot] = score;
  });
}

// Scores of a tile before its first token, by `threads` threads that count from `thread`.
__device__ inline void score_tile(const float* parts, uint64_t valid, int kv_heads, float* scores,
                                  int thread, int threads) {
  for (int i = thread; i < kLiveSlots * kLiveTile / 4; i += threads) {
    const int slot = i / (kLiveTile / 4);
    const int row = i % (kLiveTile / 4) * 4;
    float4 sum = make_float4(0, 0, 0, 0);
    for (int head = 0; head < kv_heads; ++head) {
      const float* part = parts + head * SummaryPart::kStride;
      const float4 product =
          *reinterpret_cast<const float4*>(part + SummaryPart::kSlots + slot * kLiveTile + row);
      const float inverse = part[SummaryPart::kInverses + slot];
      sum.x = fmaf(product.x, inverse, sum.x);
      sum.y = fmaf(product.y, inverse, sum.y);
      sum.z = fmaf(product.z, inverse, sum.z);
      sum.w = fmaf(product.w, inverse, sum.w);
    }
    const bool used = (valid >> slot & 1u) != 0;
    float* at = scores + row * kScoreStride + slot;
    at[0] = used ? sum.x : -INFINITY;
    at[kScoreStride] = used ? sum.y : -INFINITY;
    at[2 * kScoreStride] = used ? sum.z : -INFINITY;
    at[3 * kScoreStride] = used ? sum.w : -INFINITY;
  }
}

// What a tile's decisions make of the tokens that slots stand for; one warp, lane l has slots l and
// l + 32. `decision` and `gate`: of token lane_id().
class SummaryCounts {
 public:
  __device__ SummaryCounts(const DeviceLandmarkBank& bank, const LiveRules& rules,
                           const float* eta, int kv_heads)
      : rules_(rules), eta_(eta), kv_heads_(kv_heads), slots_(static_cast<int>(bank.summary.capacity)) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slot = lane_id() + 32 * i;
      const bool there = slot < slots_;
      valid_[i] = there && bank.summary_valid[slot] != 0;
      counted_ = bank.counts != nullptr;
      count_[i] = there && counted_ ? bank.counts[slot] : 0;
      log_weight_[i] = there && counted_ ? bank.log_weight[slot] : 0;
    }
  }

  // Bit by bit.
  __device__ uint64_t valid() const {
    const uint64_t low = __ballot_sync(kWarp, valid_[0]);
    const uint64_t high = __ballot_sync(kWarp, valid_[1]);
    return low | high << 32;
  }

  __device__ void take(int decision, float gate, int count) {
    float rates = 0;
    for (int head = 0; head < kv_heads_; ++head) {
      rates += decision >= kOpens ? 1.0f : rules_.gated_rate ? __fmul_rn(eta_[head], gate) : eta_[head];
    }
    const float stays = 1 - rates / static_cast<float>(kv_heads_);
    bool changed[2] = {};
    for (int t = 0; t < count; ++t) {
      const int slot = __shfl_sync(kWarp, decision, t);
      const float kept = __shfl_sync(kWarp, stays, t);
      if (slot < 0) continue;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (slot % kOpens != lane_id() + 32 * i) continue;
        count_[i] = fmaf(kept, valid_[i] ? count_[i] : 0, 1);
        valid_[i] = changed[i] = true;
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (changed[i]) log_weight_[i] = logf(count_[i]);
    }
  }

  // To a bank or a snapshot; its null members are left out.
  __device__ void store(const DeviceLandmarkBank& to) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slot = lane_id() + 32 * i;
      if (slot >= slots_) continue;
      to.summary_valid[slot] = valid_[i] ? 1 : 0;
      if (!counted_) continue;
      if (to.counts != nullptr) to.counts[slot] = count_[i];
      if (to.log_weight != nullptr) to.log_weight[slot] = log_weight_[i];
    }
  }

 private:
  LiveRules rules_;
  const float* eta_;
  int kv_heads_, slots_;
  bool counted_ = false;
  bool valid_[2];
  float count_[2], log_weight_[2];
};

// A lane's coordinates of an average, and of a token, by one access.
template <int kWidth>
__device__ inline LaneWords<float, kWidth>* lane_floats(float* row) {
  return reinterpret_cast<LaneWords<float, kWidth>*>(row) + lane_id();
}
template <int kWidth>
__device__ inline void move_lane(const __nv_bfloat16* token, float rate,
                                 LaneWords<float, kWidth>& x) {
  const auto bits = reinterpret_cast<const LaneWords<uint16_t, kWidth>*>(token)[lane_id()];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float to = __uint_as_float(static_cast<uint32_t>(bits.word[i]) << 16);
    x.word[i] = __fmaf_rn(rate, __fsub_rn(to, x.word[i]), x.word[i]);
  }
}

// The averages of one head follow the decisions of a tile: keys [slots, kDim / 2], values [slots,
// kDim]; several tokens of one slot in order. `decision`: of token lane_id(). Warps as in
// LiveGroups::each().
template <int kDim>
__device__ inline void move_averages(const SummaryTokenView& tokens, int decision, float eta,
                                     bool gated, float* keys, float* values, int warp, int warps) {
  constexpr int kBand = kDim / 2;
  const LiveGroups groups(decision);
  groups.each(warp, warps, [&](int slot, unsigned group) {
    auto* key = lane_floats<kBand / 32>(keys + static_cast<int64_t>(slot) * kBand);
    auto* value = lane_floats<kDim / 32>(values + static_cast<int64_t>(slot) * kDim);
    auto k = *key;
    auto v = *value;
    for (; group != 0; group &= group - 1) {
      const int t = __ffs(static_cast<int>(group)) - 1;
      const bool opens = __shfl_sync(kWarp, decision, t) >= kOpens;
      const float rate = opens ? 1.0f : gated ? __fmul_rn(eta, tokens.gate[t]) : eta;
      move_lane<kBand / 32>(tokens.keys + t * kTokenStride<kBand>, rate, k);
      move_lane<kDim / 32>(tokens.values + t * kTokenStride<kDim>, rate, v);
    }
    *key = k;
    *value = v;
  });
}

}  // namespace kvg::cuda
