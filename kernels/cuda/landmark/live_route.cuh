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

// Takes the decisions of one tile after the other; one warp. Lanes 0 .. 15 have a row t' each and
// the first four heads, lanes 16 .. 31 the same rows and the others. Parts of heads that do not
// exist are zero.
class SummaryRouter {
 public:
  __device__ SummaryRouter(const LiveRules& rules, const float* eta, int kv_heads, int slots,
                           uint64_t valid)
      : rules_(rules), slots_(slots), share_(1.0f / static_cast<float>(kv_heads)), valid_(valid) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int head = lane_id() / 16 * 4 + k;
      eta_[k] = head < kv_heads ? eta[head] : 0;
    }
  }

  __device__ uint64_t valid() const { return valid_; }

  // parts [heads, SummaryPart], kStride apart, of which products and squares move on; scores
  // [t', slot], -infinity in unused slots. `gate`: that of token lane_id(). Returns the decision
  // about token lane_id().
  __device__ int route(float* parts, float* scores, int count, float gate) {
    float* mine = parts + lane_id() / 16 * 4 * SummaryPart::kStride;
    const int row = lane_id() % 16;
    const unsigned offered = __ballot_sync(kWarp, gate >= rules_.tau_summary);
    int decision = -1;
    LiveBest best = row_best(scores, 0, -1);
    for (int t = 0; t < count; ++t) {
      const int following = min(t + 1, kLiveTile - 1);
      if ((offered >> t & 1u) == 0) {
        best = row_best(scores, following, -1);
        continue;
      }
      bool opens = false;
      int slot = best.slot;
      if (!(best.score >= rules_.tau_merge)) {
        const int unused = free_slot(valid_, slots_);
        opens = unused >= 0;
        slot = opens ? unused : slot;
      }
      valid_ |= uint64_t{1} << slot;
      if (lane_id() == t) decision = opens ? slot + kOpens : slot;
      const float others = __shfl_sync(kWarp, gate, t);
      const float score = move(mine, t, slot, opens, others);
      const LiveBest rest = row_best(scores, following, slot);
      // Both halves of the heads, of this lane's row and of the next token's.
      const float whole = (score + __shfl_xor_sync(kWarp, score, 16)) * share_;
      const float next = __shfl_sync(kWarp, whole, following);
      if (lane_id() < 16) scores[row * kScoreStride + slot] = whole;
      __syncwarp();
      const bool moved = next > rest.score || (next == rest.score && slot < rest.slot);
      best = moved ? LiveBest{next, slot} : rest;
    }
    return decision;
  }

 private:
  __device__ static LiveBest row_best(const float* scores, int row, int without) {
    const int lane = lane_id();
    const float* at = scores + row * kScoreStride;
    const float low = lane == without ? -INFINITY : at[lane];
    const float high = lane + 32 == without ? -INFINITY : at[lane + 32];
    return warp_best_of(low, high);
  }

  // Moves the column of `slot` towards token t; returns what the lane's four heads add to the score
  // of its row.
  __device__ float move(float* parts, int t, int slot, bool opens, float gate) const {
    const int row = lane_id() % 16;
    float moved[4], squares[4];
    float score = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float* part = parts + k * SummaryPart::kStride;
      const float rate = opens ? 1.0f : rules_.gated_rate ? eta_[k] * gate : eta_[k];
      const float stays = 1 - rate;
      const float* column = part + SummaryPart::kSlots + slot * kLiveTile;
      const float product = column[row];
      const float token = part[SummaryPart::kTokens + t * kLiveTile + row];
      moved[k] = fmaf(rate, token - product, product);
      const float with_token = column[t] * part[SummaryPart::kTokenNorms + t];
      const float inner = fmaf(stays, part[SummaryPart::kSquares + slot], 2 * rate * with_token);
      squares[k] = fmaf(stays, inner, rate * rate * part[SummaryPart::kTokenSquares + t]);
      score = fmaf(moved[k], inverse_norm(squares[k]), score);
    }
    __syncwarp();  // all have read
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      float* part = parts + k * SummaryPart::kStride;
      part[SummaryPart::kSlots + slot * kLiveTile + row] = moved[k];
      part[SummaryPart::kSquares + slot] = squares[k];
    }
    return score;
  }

  LiveRules rules_;
  int slots_;
  float share_;
  float eta_[4];
  uint64_t valid_;
};

// Scores of a tile before its first token, by `threads` threads that count from `thread`.
__device__ inline void score_tile(const float* parts, uint64_t valid, int kv_heads, float* scores,
                                  int thread, int threads) {
  const float share = 1.0f / static_cast<float>(kv_heads);
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
    at[0] = used ? sum.x * share : -INFINITY;
    at[kScoreStride] = used ? sum.y * share : -INFINITY;
    at[2 * kScoreStride] = used ? sum.z * share : -INFINITY;
    at[3 * kScoreStride] = used ? sum.w * share : -INFINITY;
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

// The averages of one head follow the decisions of a tile: keys [slots, kDim / 2], values [slots,
// kDim]. Warp `warp` of `warps` does its share; several tokens of one slot are one warp's, in
// order. `decision`: of token lane_id().
template <int kDim>
__device__ inline void move_averages(const SummaryTokenView& tokens, int decision, float eta,
                                     bool gated, float* keys, float* values, int warp, int warps) {
  constexpr int kBand = kDim / 2;
  const unsigned offered = __ballot_sync(kWarp, decision >= 0);
  const int mine = decision >= 0 ? decision % kOpens : -1 - lane_id();
  const unsigned peers = __match_any_sync(kWarp, mine);
  unsigned first = __ballot_sync(kWarp, (peers & ((1u << lane_id()) - 1)) == 0) & offered;
  for (int i = 0; first != 0; first &= first - 1, ++i) {
    if (i % warps != warp) continue;
    const int leader = __ffs(static_cast<int>(first)) - 1;
    const int slot = __shfl_sync(kWarp, mine, leader);
    unsigned group = __shfl_sync(kWarp, peers, leader);
    float* key = keys + static_cast<int64_t>(slot) * kBand;
    float* value = values + static_cast<int64_t>(slot) * kDim;
    float x[3 * kBand / 32];
#pragma unroll
    for (int k = 0; k < kBand / 32; ++k) x[k] = key[lane_id() + 32 * k];
#pragma unroll
    for (int k = 0; k < kDim / 32; ++k) x[kBand / 32 + k] = value[lane_id() + 32 * k];
    for (; group != 0; group &= group - 1) {
      const int t = __ffs(static_cast<int>(group)) - 1;
      const bool opens = __shfl_sync(kWarp, decision, t) >= kOpens;
      const float rate = opens ? 1.0f : gated ? __fmul_rn(eta, tokens.gate[t]) : eta;
      const __nv_bfloat16* k_row = tokens.keys + t * kTokenStride<kDim / 2>;
      const __nv_bfloat16* v_row = tokens.values + t * kTokenStride<kDim>;
#pragma unroll
      for (int k = 0; k < 3 * kBand / 32; ++k) {
        const __nv_bfloat16* row = k < kBand / 32 ? k_row + 32 * k : v_row + 32 * k - kBand;
        const float token = __bfloat162float(row[lane_id()]);
        x[k] = __fmaf_rn(rate, __fsub_rn(token, x[k]), x[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < kBand / 32; ++k) key[lane_id() + 32 * k] = x[k];
#pragma unroll
    for (int k = 0; k < kDim / 32; ++k) value[lane_id() + 32 * k] = x[kBand / 32 + k];
  }
}

}  // namespace kvg::cuda
