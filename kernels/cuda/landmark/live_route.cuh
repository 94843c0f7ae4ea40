#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/live_table.cuh"
#include "kernels/cuda/landmark/live_tokens.cuh"
#include "kernels/cuda/landmark/vectors.cuh"

#include <climits>
#include <cstdint>

// Where the tokens of a tile go in the summary bank. A decision is the slot, plus kOpens when the
// token opens it, or -1 for a token that is not offered.
namespace kvg::cuda {

inline constexpr int kOpens = 256;
inline constexpr int kLiveQuarter = 4;  // tokens whose moves are passed on together

__device__ inline int warp_max_int(int x) {
#if __CUDA_ARCH__ >= 800
  return __reduce_max_sync(kWarp, x);
#else
  return x;
#endif
}

struct LiveBest {
  int key;  // ordered() of the score
  int slot;
  __device__ float score() const { return unordered(key); }
};

// The highest of two scores a lane, as ordered(), those of slots `lane` and `lane + 32`; the first
// of equals. `most`: warp_max_int() of both, for callers that have something to do meanwhile.
__device__ inline LiveBest warp_best_of(int low, int high, int most) {
  const unsigned in_low = __ballot_sync(kWarp, low == most);
  const unsigned in_high = __ballot_sync(kWarp, high == most);
  const int slot =
      in_low != 0 ? __ffs(static_cast<int>(in_low)) - 1 : __ffs(static_cast<int>(in_high)) + 31;
  return {most, slot};
}
__device__ inline LiveBest warp_best_of(int low, int high) {
  return warp_best_of(low, high, warp_max_int(max(low, high)));
}

// The first slot of `slots` that is not in `valid`, -1: none.
__device__ inline int free_slot(uint64_t valid, int slots) {
  const int slot = __ffsll(static_cast<long long>(~valid)) - 1;
  return slot < slots ? slot : -1;
}

// What the decisions of a tile do to products with tokens of later tiles.
struct LiveMoves {
  alignas(16) int decision[kLiveTile];
  // [t, head] What token t adds to the |slot|^2 that it leaves of the slot that it moves.
  alignas(16) float added[kLiveTile * kLiveHeads];
};

// Takes the decisions of one tile after the other; one warp. Lanes 0 .. 15 have a row t' each and
// the first four heads, lanes 16 .. 31 the same rows and the others.
//
// What bounds a token is one chain: the slot of the token before, products and norms of that slot,
// their new score with this token, the comparison with the best of the other slots. Everything else
// is started before it or done beside it, and what does not depend on decisions is in the table.
class SummaryRouter {
 public:
  __device__ SummaryRouter(const LiveRules& rules, int kv_heads, int slots, uint64_t valid)
      : tau_summary_(rules.tau_summary),
        tau_merge_(rules.tau_merge * static_cast<float>(kv_heads)),
        slots_(slots),
        valid_(valid),
        unused_(free_slot(valid, slots)) {}

  __device__ uint64_t valid() const { return valid_; }

  // Of the TileTable products with slots and their squares move on, and the scores do. Leaves
  // LiveMoves and returns the decision about token lane_id(). Calls done(q) by all lanes when the
  // moves of tokens [4 q, 4 q + 4) are there.
  template <typename Done>
  __device__ int route(float* table, int* scores, const LiveRates& rates, int count,
                       LiveMoves& moves, Done done) {
    const int lane = lane_id();
    const int half = lane / 16;
    const int row = lane % 16;
    table += half * TileTable::kHalf;
    int decision = -1;
    int quarter = 0;  // the first one that is not done
    const auto finish = [&](int end) {
      const int own = lane / kLiveQuarter;
      if (own >= quarter && own < end) moves.decision[lane] = decision;
      __syncwarp();
      for (; quarter < end; ++quarter) done(quarter);
    };
    const bool offered = lane < count && rates.gate[lane] >= tau_summary_;
    unsigned left = __ballot_sync(kWarp, offered);
    if (left != 0) {
      int t = __ffs(static_cast<int>(left)) - 1;
      LiveBest best =
          warp_best_of(scores[t * kScoreStride + lane], scores[t * kScoreStride + lane + 32]);
      // Routes token t, which is `now`, and looks up the following one. Whether there is one.
      const auto step = [&](Token& now, Token& next) {
        const bool opens = !(best.score() >= tau_merge_) && unused_ >= 0;
        const int slot = opens ? unused_ : best.slot;
        float* column = table + TileTable::slot(slot, 0);
        float* square = table + TileTable::square(slot);
        Quad squares = quad(square);
        Quad with_token = quad(column + 4 * t);
        Quad own = quad(column + 4 * row);
        left &= left - 1;
        const int following = left != 0 ? __ffs(static_cast<int>(left)) - 1 : t;
        const int* others = scores + following * kScoreStride + lane;
        const int low = lane == slot ? INT_MIN : others[0];
        const int high = lane + 32 == slot ? INT_MIN : others[32];
        int taken = slot;
        if (opens) {
          // At rate 1 whatever the slot had, which may be no number.
          own = now.product;
          now.share = quad(table + TileTable::token_square(t));
          squares = with_token = now.cross = {};
          taken += kOpens;
          valid_ |= uint64_t{1} << slot;
          unused_ = free_slot(valid_, slots_);
        }
        Quad added;
        float inverse[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          added[k] = fmaf(now.cross[k], with_token[k], now.share[k]);
          squares[k] = fmaf(now.keeps[k], squares[k], added[k]);
          own[k] = fmaf(now.rate[k], now.product[k] - own[k], own[k]);
          inverse[k] = inverse_norm(squares[k]);
        }
        const int most = warp_max_int(max(low, high));
        const float sum = fmaf(own[1], inverse[1], own[0] * inverse[0]) +
                          fmaf(own[3], inverse[3], own[2] * inverse[2]);
        const float score =
            __shfl_sync(kWarp, sum, following) + __shfl_sync(kWarp, sum, following + 16);
        const float whole = sum + __shfl_xor_sync(kWarp, sum, 16);
        const LiveBest rest = warp_best_of(low, high, most);
        next = Token(table, rates, following);
        __syncwarp();  // all have read
        quad(column + 4 * row) = own;
        quad(square) = squares;
        quad(moves.added + t * kLiveHeads + half * TileTable::kHeads) = added;
        if (half == 0) scores[row * kScoreStride + slot] = ordered(whole);
        if (lane == t) decision = taken;
        __syncwarp();
        if (left == 0) return false;
        const int key = ordered(score);
        const bool moved = key > rest.key || (key == rest.key && slot < rest.slot);
        best = moved ? LiveBest{key, slot} : rest;
        t = following;
        const int end = t / kLiveQuarter;
        if (end > quarter) finish(end);
        return true;
      };
      Token even(table, rates, t), odd;
#pragma unroll 1
      while (step(even, odd) && step(odd, even)) {
      }
    }
    finish(kLiveTile / kLiveQuarter);
    return decision;
  }

 private:
  // What is needed of a token that moves a slot: of the lane's row and heads.
  struct Token {
    Quad product, rate, keeps, cross, share;
    Token() = default;
    __device__ Token(const float* table, const LiveRates& rates, int t)
        : product(quad(table + TileTable::token(t, lane_id() % 16))) {
      const int at = t * kLiveHeads + lane_id() / 16 * TileTable::kHeads;
      rate = quad(rates.rate + at);
      keeps = quad(rates.keeps + at);
      cross = quad(rates.cross + at);
      share = quad(rates.share + at);
    }
  };

  float tau_summary_, tau_merge_;
  int slots_;
  uint64_t valid_;
  int unused_;  // the first unused slot, -1: none
};

// What token t of the tile before does to a slot, for the lane's row of the next tile and its
// heads.
struct LiveMove {
  Quad before, added, rate, keeps;

  __device__ static LiveMove read(const LiveMoves& moves, const LiveRates& rates,
                                  const float* table, int t) {
    const int of_token = t * kLiveHeads + lane_id() / 16 * TileTable::kHeads;
    return {quad(table + TileTable::before(t, lane_id() % 16)), quad(moves.added + of_token),
            quad(rates.rate + of_token), quad(rates.keeps + of_token)};
  }
  __device__ void apply(Quad& product, Quad& squares) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      product[k] = fmaf(rate[k], before[k] - product[k], product[k]);
      squares[k] = fmaf(keeps[k], squares[k], added[k]);
    }
  }
};

// Products and scores of a tile that was compared with the averages as they were before the moves
// of the tile before, which has these `rates`: what they are after those of tokens [begin, end), if
// they have followed the ones before. Each of `warps` warps has slots of its own.
__device__ inline void follow_moves(const LiveMoves& moves, const LiveRates& rates, int begin,
                                    int end, float* table, int* scores, int warp, int warps) {
  const int row = lane_id() % 16;
  const int half = lane_id() / 16;
  table += half * TileTable::kHalf;
  const bool there = lane_id() >= begin && lane_id() < end;
  const int decision = there ? moves.decision[lane_id()] : -1;
  const int mine = decision >= 0 ? decision % kOpens : -1;
  unsigned tokens = __ballot_sync(kWarp, mine >= 0 && mine % warps == warp);
#pragma unroll 1
  while (tokens != 0) {
    const int t = __ffs(static_cast<int>(tokens)) - 1;
    const int slot = __shfl_sync(kWarp, mine, t);
    unsigned group = __ballot_sync(kWarp, mine == slot);
    tokens &= ~group;
    Quad& product = quad(table + TileTable::slot(slot, row));
    Quad& square = quad(table + TileTable::square(slot));
    Quad own = product;
    Quad squares = square;
    if (__shfl_sync(kWarp, decision, t) >= kOpens) {  // only the first of a slot can
      own = quad(table + TileTable::before(t, row));
      squares = quad(moves.added + t * kLiveHeads + half * TileTable::kHeads);
      group &= group - 1;
    }
    LiveMove even, odd;
    const auto read = [&](LiveMove& move) {
      move = LiveMove::read(moves, rates, table, __ffs(static_cast<int>(group)) - 1);
    };
    // The next move is requested before this one is made. Whether there is one.
    const auto step = [&](const LiveMove& now, LiveMove& next) {
      group &= group - 1;
      const bool more = group != 0;
      if (more) read(next);
      now.apply(own, squares);
      return more;
    };
    if (group != 0) {
      read(even);
#pragma unroll 1
      while (step(even, odd) && step(odd, even)) {
      }
    }
    float score = fmaf(own[1], inverse_norm(squares[1]), own[0] * inverse_norm(squares[0])) +
                  fmaf(own[3], inverse_norm(squares[3]), own[2] * inverse_norm(squares[2]));
    score += __shfl_xor_sync(kWarp, score, 16);
    __syncwarp();  // all have read
    product = own;
    square = squares;
    if (half == 0) scores[row * kScoreStride + slot] = ordered(score);
    __syncwarp();
  }
}

}  // namespace kvg::cuda
