#pragma once

#include "kernels/cuda/landmark/live_route.cuh"

#include <cstdint>

// What follows from the decisions about the summary bank: counts, and the averages themselves.
namespace kvg::cuda {

// What a tile's decisions make of the tokens that slots stand for; one warp, lane l has slots l and
// l + 32. `decision` and `gate`: of token lane_id().
class SummaryCounts {
 public:
  __device__ SummaryCounts(const DeviceLandmarkBank& bank, const LiveRules& rules, const float* eta,
                           int kv_heads)
      : rules_(rules),
        eta_(eta),
        kv_heads_(kv_heads),
        slots_(static_cast<int>(bank.summary.capacity)) {
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
      rates += decision >= kOpens  ? 1.0f
               : rules_.gated_rate ? __fmul_rn(eta_[head], gate)
                                   : eta_[head];
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

// A lane's coordinates of an average follow those of a token.
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

// One coordinate of averages [slots, width] and tokens, rows `stride` apart, all in shared memory.
struct LiveCoordinate {
  const __nv_bfloat16* token;  // of the first row
  int stride;
  float* average;
  int width;

  // Follows the decisions of a tile [kLiveTile], 16-byte aligned. Takes as long, however many
  // tokens go to one slot.
  __device__ void move(const int* decisions, const float* gate, float eta, bool gated) const {
#pragma unroll 1
    for (int first = 0; first < kLiveTile; first += 4) {
      const int4 taken = *reinterpret_cast<const int4*>(decisions + first);
      const float4 gates = *reinterpret_cast<const float4*>(gate + first);
      const __nv_bfloat16* from = token + first * stride;
      const float to[4] = {__bfloat162float(from[0]), __bfloat162float(from[stride]),
                           __bfloat162float(from[2 * stride]), __bfloat162float(from[3 * stride])};
      move(taken.x, gated ? __fmul_rn(eta, gates.x) : eta, to[0]);
      move(taken.y, gated ? __fmul_rn(eta, gates.y) : eta, to[1]);
      move(taken.z, gated ? __fmul_rn(eta, gates.z) : eta, to[2]);
      move(taken.w, gated ? __fmul_rn(eta, gates.w) : eta, to[3]);
    }
  }

 private:
  __device__ void move(int taken, float rate, float to) const {
    if (taken < 0) return;
    const auto slot = static_cast<unsigned>(taken) % kOpens;
    float& x = average[slot * width];
    x = __fmaf_rn(taken >= kOpens ? 1.0f : rate, __fsub_rn(to, x), x);
  }
};

// Tokens of a tile by the slot they go to. Of lane_id(), if that token leads, the first one of a
// slot: the slot, and as a mask the tokens of the same slot.
struct LiveGroups {
  int slot;
  unsigned peers, leaders;
  __device__ explicit LiveGroups(const int* decisions) {
    const int mine = lane_id() < kLiveTile ? decisions[lane_id()] : -1;
    slot = mine % kOpens;
    peers = __match_any_sync(kWarp, mine >= 0 ? slot : -1 - lane_id());
    leaders = __ballot_sync(kWarp, mine >= 0 && (peers & ((1u << lane_id()) - 1)) == 0);
  }
  // Calls use(slot, tokens) by all lanes.
  template <typename Use>
  __device__ void each(Use use) const {
    for (unsigned left = leaders; left != 0; left &= left - 1) {
      const int leader = __ffs(static_cast<int>(left)) - 1;
      use(__shfl_sync(kWarp, slot, leader), __shfl_sync(kWarp, peers, leader));
    }
  }
};

// The averages of one head follow the decisions of a tile: keys [slots, kDim / 2], values [slots,
// kDim]; several tokens of one slot in order. decisions [kLiveTile]; one warp.
template <int kDim>
__device__ inline void move_averages(const SummaryTokenView& tokens, const int* decisions,
                                     float eta, bool gated, StoredAverages keys,
                                     StoredAverages values) {
  constexpr int kBand = kDim / 2;
  LiveGroups(decisions).each([&](int slot, unsigned group) {
    auto k = load_average<kBand, kBand / 32>(keys, slot, lane_id());
    auto v = load_average<kDim, kDim / 32>(values, slot, lane_id());
    for (; group != 0; group &= group - 1) {
      const int t = __ffs(static_cast<int>(group)) - 1;
      const bool opens = decisions[t] >= kOpens;
      const float rate = opens ? 1.0f : gated ? __fmul_rn(eta, tokens.gate[t]) : eta;
      move_lane<kBand / 32>(tokens.keys + t * kTokenStride<kBand>, rate, k);
      move_lane<kDim / 32>(tokens.values + t * kTokenStride<kDim>, rate, v);
    }
    store_average<kBand>(k, keys, slot, lane_id());
    store_average<kDim>(v, values, slot, lane_id());
  });
}

}  // namespace kvg::cuda
