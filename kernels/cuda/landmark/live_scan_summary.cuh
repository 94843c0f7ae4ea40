#pragma once

#include "kernels/cuda/landmark/live_link.cuh"
#include "kernels/cuda/landmark/live_route.cuh"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/live_tokens.cuh"

#include <cstdint>

// The summary bank of a scan: what the warps of its CTAs do.
namespace kvg::cuda {

inline constexpr int kLiveWorkers = 8;  // warps of a CTA that work on its head
inline constexpr int kLiveThreads = 14 * 32;

using SummaryLink = LiveLink<SummaryPart::kFloats, SummaryPart::kStride, kLiveHeads, kLiveTile>;

template <int kDim>
struct SummaryScanShared {
  alignas(16) float keys[kLiveSlots * kDim / 2];  // as in global memory, and so are the values
  alignas(16) float values[kLiveSlots * kDim];
  alignas(16) SummaryTokens<kDim> tokens[2];
  SummaryLink link;
  // In the first CTA.
  float scores[kLiveTile * kScoreStride];
  uint64_t valid;
};

template <int kDim>
class SummaryScan {
 public:
  __device__ SummaryScan(const LiveScanLaunch& launch, SummaryScanShared<kDim>& shared)
      : p_(launch.scan),
        rules_(launch.rules),
        s_(shared),
        head_(cluster_rank()),
        heads_(p_.layout.shape.kv_heads),
        warp_(static_cast<int>(threadIdx.x) / 32),
        slots_(p_.layout.shape.summary) {}

  __device__ void run() {
    for (int i = static_cast<int>(threadIdx.x); i < kLiveHeads * SummaryPart::kStride;
         i += kLiveThreads) {
      s_.link.parts[0][i] = s_.link.parts[1][i] = 0;
    }
    if (threadIdx.x == 0) s_.link.open();
    fence_proxy_async();
    cluster_sync();
    if (warp_ < kLiveWorkers) {
      work();
    } else if (head_ == 0) {
      if (warp_ == kLiveWorkers) {
        route();
      } else if (warp_ == kLiveWorkers + 1) {
        keep_counts();
      } else {
        score();
      }
    }
    cluster_sync();  // others may still send to this CTA
  }

 private:
  static constexpr int kBand = kDim / 2;
  static constexpr int kScorers = kLiveThreads - 32 * (kLiveWorkers + 2);
  static constexpr int kWorkBarrier = 1, kScoreBarrier = 2;

  __device__ LiveTiles tiles() const {
    return {p_, p_.layout.shape.exact > 0 ? rules_.sinks : 0};
  }
  __device__ static void sync_workers() { bar_sync(kWorkBarrier, 32 * kLiveWorkers); }
  __device__ static void sync_scores() { bar_sync(kScoreBarrier, 32 + kScorers); }

  // A token's gate, below every threshold for one that is not there.
  __device__ float gate(const LiveTile& tile, int token) const {
    return token < tile.count ? p_.gate[tile.row + token] : -INFINITY;
  }

  // ---- The workers: one head.

  // What a warp brings of a tile: every eighth token.
  struct Fetched {
    LaneBits<kDim> keys[kLiveTile / kLiveWorkers], values[kLiveTile / kLiveWorkers];
    float gate;
  };
  __device__ void fetch(const LiveTile& tile, Fetched& to) const {
#pragma unroll
    for (int i = 0; i < kLiveTile / kLiveWorkers; ++i) {
      const int token = warp_ + i * kLiveWorkers;
      to.keys[i] = to.values[i] = {};
      if (token >= tile.count) continue;
      const int64_t at = (int64_t{tile.row + token} * heads_ + head_) * kDim;
      to.keys[i] = lane_bits<kDim>(static_cast<const __nv_bfloat16*>(p_.k) + at);
      to.values[i] = lane_bits<kDim>(static_cast<const __nv_bfloat16*>(p_.v) + at);
    }
    to.gate = gate(tile, lane_id());
  }
  __device__ void put(const Fetched& from, const LaneBand<kDim>& band,
                      SummaryTokens<kDim>& tokens) const {
#pragma unroll
    for (int i = 0; i < kLiveTile / kLiveWorkers; ++i) {
      const int token = warp_ + i * kLiveWorkers;
      const float inverse = store_key<kDim>(
          from.keys[i], band, tokens.keys + token * SummaryTokens<kDim>::kKeyStride);
      store_row<kDim>(from.values[i], tokens.values + token * SummaryTokens<kDim>::kValueStride);
      if (lane_id() == 0) tokens.inverse[token] = inverse;
    }
    if (warp_ == 0 && lane_id() < kLiveTile) tokens.gate[lane_id()] = from.gate;
  }

  // The head's keys or values, between global and shared memory.
  __device__ void read_slots(const uint8_t* codes, float* slots, int width) const {
    const auto* from =
        reinterpret_cast<const float4*>(codes) + int64_t{head_} * slots_ * width / 4;
    for (int i = static_cast<int>(threadIdx.x); i < kLiveSlots * width / 4;
         i += 32 * kLiveWorkers) {
      reinterpret_cast<float4*>(slots)[i] =
          i < slots_ * width / 4 ? from[i] : make_float4(0, 0, 0, 0);
    }
  }
  // By one thread, after all writers have called fence_proxy_async() and a barrier.
  __device__ void store_slots(const DeviceLandmarkBank& to) const {
    const auto bytes = static_cast<uint32_t>(slots_ * kDim * 4);
    cp_async_bulk_store(to.summary.k_codes + int64_t{head_} * bytes / 2, s_.keys, bytes / 2);
    cp_async_bulk_store(to.summary.v_codes + int64_t{head_} * bytes, s_.values, bytes);
    cp_async_bulk_commit_group();
  }

  __device__ void work() {
    const LaneBand<kDim> band(p_.slow_dims, kBand);
    const float eta = p_.eta[head_];
    read_slots(p_.bank.summary.k_codes, s_.keys, kBand);
    read_slots(p_.bank.summary.v_codes, s_.values, kDim);
    LiveTiles walk = tiles();
    LiveTile tile, ahead;
    Fetched fetched;
    bool more = walk.next(tile);
    if (more) fetch(tile, fetched);
    for (int i = 0; more; ++i) {
      SummaryTokens<kDim>& tokens = s_.tokens[i % 2];
      put(fetched, band, tokens);
      more = walk.next(ahead);
      if (more) fetch(ahead, fetched);
      sync_workers();
      float* part = s_.link.mine[i % 2];
      for (int task = warp_; task < kSummaryTasks; task += kLiveWorkers) {
        summary_products<kBand>(task, tokens.keys, tokens.inverse, s_.keys, slots_, part);
      }
      fence_proxy_async();
      sync_workers();
      if (threadIdx.x == 0) s_.link.send(i, head_);
      const int* decisions = s_.link.wait_decisions(i);
      const int decision = lane_id() < kLiveTile ? decisions[lane_id()] : -1;
      if (threadIdx.x == 0) cp_async_bulk_wait_group_read();  // of the snapshot before
      sync_workers();
      move_averages<kDim>({tokens.keys, tokens.values, tokens.gate}, decision, eta, rules_.gated_rate, s_.keys, s_.values, warp_,
                          kLiveWorkers);
      fence_proxy_async();
      sync_workers();
      if (threadIdx.x == 0 && tile.snapshot >= 0) store_slots(p_.snapshots[tile.snapshot]);
      tile = ahead;
    }
    if (threadIdx.x != 0) return;
    store_slots(p_.bank);
    cp_async_bulk_wait_group();
  }

  // ---- In the first CTA, for all heads.

  __device__ void route() {
    SummaryRouter router(rules_, p_.eta, heads_, slots_,
                         SummaryCounts(p_.bank, rules_, p_.eta, heads_).valid());
    LiveTiles walk = tiles();
    LiveTile tile;
    for (int i = 0; walk.next(tile); ++i) {
      const float mine = gate(tile, lane_id());
      if (lane_id() == 0) s_.valid = router.valid();
      sync_scores();
      float* parts = s_.link.wait_parts(i);
      sync_scores();
      s_.link.broadcast(i, heads_, router.route(parts, s_.scores, tile.count, mine));
    }
  }

  __device__ void score() {
    LiveTiles walk = tiles();
    LiveTile tile;
    for (int i = 0; walk.next(tile); ++i) {
      sync_scores();
      const float* parts = s_.link.wait_parts(i);
      score_tile(parts, s_.valid, heads_, s_.scores,
                 static_cast<int>(threadIdx.x) - 32 * (kLiveWorkers + 2), kScorers);
      sync_scores();
    }
  }

  __device__ void keep_counts() {
    SummaryCounts counts(p_.bank, rules_, p_.eta, heads_);
    LiveTiles walk = tiles();
    LiveTile tile;
    if (lane_id() == 0) {
      s_.link.expect(0, heads_);
      s_.link.expect(1, heads_);
    }
    for (int i = 0; walk.next(tile); ++i) {
      const float mine = gate(tile, lane_id());
      const int* decisions = s_.link.wait_decisions(i);
      const int decision = lane_id() < kLiveTile ? decisions[lane_id()] : -1;
      __syncwarp();
      if (lane_id() == 0) s_.link.expect(i + 2, heads_);
      counts.take(decision, mine, tile.count);
      if (tile.snapshot >= 0) counts.store(p_.snapshots[tile.snapshot]);
    }
    counts.store(p_.bank);
  }

  const LandmarkScanLaunch& p_;
  const LiveRules& rules_;
  SummaryScanShared<kDim>& s_;
  int head_, heads_, warp_, slots_;
};

}  // namespace kvg::cuda
