#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/live_table.cuh"
#include "kernels/cuda/landmark/live_tokens.cuh"
#include "kernels/cuda/landmark/vectors.cuh"

#include <cstdint>

// Where the tokens of a tile go in the summary bank. A decision is the slot, plus kOpens when the
// token opens it, or -1 for a token that is not offered.
namespace kvg::cuda {

inline constexpr int kOpens = 256;

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
  const int slot =
      in_low != 0 ? __ffs(static_cast<int>(in_low)) - 1 : __ffs(static_cast<int>(in_high)) + 31;
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
  alignas(16) float added[kLiveTile * kLiveHeads];
};

// Takes the decisions of one tile after the other; one warp. Lanes 0 .. 15 have a row t' each and
// the first four heads, lanes 16 .. 31 the same rows and the others.
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

  // Of the TileTable products with slots and their squares move on, and the scores do. `gate`: that
  // of token lane_id(). Leaves LiveMoves and returns the decision about token lane_id().
  __device__ int route(float* table, float* scores, int count, float gate, LiveMoves& moves) {
    const int lane = lane_id();
    const int half = lane / 16;
    const int row = lane % 16;
    table += half * TileTable::kHalf;
    int decision = -1;
    if (lane < kLiveTile) moves.gate[lane] = gate;
    unsigned left = __ballot_sync(kWarp, gate >= tau_summary_) & ((1u << count) - 1);
    if (left != 0) {
      int t = __ffs(static_cast<int>(left)) - 1;
      Token token = read_token(table, t, gate);
      LiveBest best =
          warp_best_of(scores[t * kScoreStride + lane], scores[t * kScoreStride + lane + 32]);
#pragma unroll 1
      for (;;) {
        const bool opens = !(best.score >= tau_merge_) && unused_ >= 0;
        const int slot = opens ? unused_ : best.slot;
        float* column = table + TileTable::slot(slot, 0);
        float* square = table + TileTable::square(slot);
        Quad squares = quad(square);
        const Quad with_token = quad(column + 4 * t);
        Quad own = quad(column + 4 * row);
        left &= left - 1;
        const int following = left != 0 ? __ffs(static_cast<int>(left)) - 1 : t;
        const float low = scores[following * kScoreStride + lane];
        const float high = scores[following * kScoreStride + lane + 32];
        const Token next = read_token(table, following, gate);
        const LiveBest rest =
            warp_best_of(lane == slot ? -INFINITY : low, lane + 32 == slot ? -INFINITY : high);
        Quad added;
        float part[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float rate = opens ? 1.0f : token.rate[k];
          const float stays = 1 - rate;
          const float twice = 2 * stays * rate * token.norm[k];
          added[k] = fmaf(twice, with_token[k], rate * rate * token.square[k]);
          squares[k] = fmaf(stays * stays, squares[k], added[k]);
          own[k] = fmaf(rate, token.product[k] - own[k], own[k]);
          part[k] = own[k] * inverse_norm(squares[k]);
        }
        const float sum = (part[0] + part[1]) + (part[2] + part[3]);
        const float score =
            __shfl_sync(kWarp, sum, following) + __shfl_sync(kWarp, sum, following + 16);
        const float whole = sum + __shfl_xor_sync(kWarp, sum, 16);
        __syncwarp();  // all have read
        quad(column + 4 * row) = own;
        quad(square) = squares;
        quad(moves.added + t * kLiveHeads + half * TileTable::kHeads) = added;
        if (half == 0) scores[row * kScoreStride + slot] = whole;
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
  // What is needed of the token that moves a slot.
  struct Token {
    Quad product;  // with the lane's row
    Quad norm, square;
    float rate[4];
  };
  __device__ Token read_token(const float* table, int t, float gate) const {
    Token token{quad(table + TileTable::token(t, lane_id() % 16)),
                quad(table + TileTable::norm(t)),
                quad(table + TileTable::token_square(t)),
                {}};
    const float factor = __shfl_sync(kWarp, gate, t);
#pragma unroll
    for (int k = 0; k < 4; ++k) token.rate[k] = gated_ ? eta_[k] * factor : eta_[k];
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
  unsigned peers = 0, first;
  // decisions [kLiveTile], 16-byte aligned.
  __device__ explicit LiveGroups(const int* decisions) {
    const int mine = decisions[lane_id() % kLiveTile];
    slot = mine % kOpens;
#pragma unroll
    for (int i = 0; i < kLiveTile; i += 4) {
      const int4 four = *reinterpret_cast<const int4*>(decisions + i);
      const int others[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        peers |= others[k] >= 0 && others[k] % kOpens == slot ? 1u << (i + k) : 0;
      }
    }
    const bool leads = mine >= 0 && (peers & ((1u << lane_id()) - 1)) == 0;
    first = __ballot_sync(kWarp, leads && lane_id() < kLiveTile);
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
                                    const float* eta, int kv_heads, float* table, float* scores,
                                    int warp, int warps) {
  const int row = lane_id() % 16;
  const int half = lane_id() / 16;
  float etas[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int head = half * TileTable::kHeads + k;
    etas[k] = head < kv_heads ? eta[head] : 0;
  }
  table += half * TileTable::kHalf;
  LiveGroups(moves.decision).each(warp, warps, [&](int slot, unsigned tokens) {
    Quad& product = quad(table + TileTable::slot(slot, row));
    Quad& square = quad(table + TileTable::square(slot));
    Quad own = product;
    Quad squares = square;
    for (; tokens != 0; tokens &= tokens - 1) {
      const int t = __ffs(static_cast<int>(tokens)) - 1;
      const Quad before = quad(table + TileTable::before(t, row));
      const Quad added = quad(moves.added + t * kLiveHeads + half * TileTable::kHeads);
      const bool opens = moves.decision[t] >= kOpens;
      const float gate = rules.gated_rate ? moves.gate[t] : 1.0f;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float rate = opens ? 1.0f : etas[k] * gate;
        const float stays = 1 - rate;
        own[k] = fmaf(rate, before[k] - own[k], own[k]);
        squares[k] = fmaf(stays * stays, squares[k], added[k]);
      }
    }
    __syncwarp();  // all have read
    product = own;
    square = squares;
    float score = (own[0] * inverse_norm(squares[0]) + own[1] * inverse_norm(squares[1])) +
                  (own[2] * inverse_norm(squares[2]) + own[3] * inverse_norm(squares[3]));
    score += __shfl_xor_sync(kWarp, score, 16);
    if (half == 0) scores[row * kScoreStride + slot] = score;
  });
}

}  // namespace kvg::cuda
