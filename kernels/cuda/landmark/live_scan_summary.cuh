#pragma once

#include "kernels/cuda/landmark/live_averages.cuh"
#include "kernels/cuda/landmark/live_link.cuh"
#include "kernels/cuda/landmark/live_route.cuh"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/live_tokens.cuh"

#include <cstdint>

// The summary bank of a scan: what the warps of its CTAs do.
//
// The decisions are never waited for longer than they take. While those of tile i are taken, the
// products of tile i + 1 with the averages as they are before tile i come together in the first
// CTA; what the moves of tile i do to them is worked out there (follow_moves) as soon as they are
// known, and at the same time all CTAs move their averages, ready for the products of tile i + 2.
namespace kvg::cuda {

inline constexpr int kLiveWorkers = 8;    // warps of a CTA that work on its head
inline constexpr int kLiveFollowers = 4;  // in the first CTA
inline constexpr int kLiveThreads = 512;  // with 128 registers each

using SummaryLink = LiveLink<SummaryPart::kFloats, SummaryPart::kStride, kLiveHeads, kLiveTile>;

template <int kDim>
struct SummaryScanShared {
  alignas(16) float keys[kLiveSlots * kDim / 2];
  alignas(16) float values[kLiveSlots * kDim];
  alignas(16) SummaryTokens<kDim> tokens[4];
  alignas(16) __nv_bfloat16 fetched[2][kLiveTile * kDim];  // keys, all dimensions
  uint8_t* snapshot[4][2];                                 // keys and values, null: none
  SummaryLink link;
  // In the first CTA.
  float scores[2][kLiveTile * kScoreStride];
  LiveMoves moves;
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
    if (threadIdx.x == 0) s_.link.open();
    cluster_sync();
    if (warp_ < kLiveWorkers) {
      work();
    } else if (head_ == 0) {
      if (warp_ == kLiveWorkers) {
        route();
      } else if (warp_ == kLiveWorkers + 1) {
        keep_counts();
      } else {
        follow();
      }
    }
    cluster_sync();  // others may still send to this CTA
  }

 private:
  static constexpr int kBand = kDim / 2;
  static constexpr int kWorkBarrier = 1, kTurnBarrier = 2, kFollowBarrier = 3;
  using Tokens = SummaryTokens<kDim>;

  __device__ LiveTiles tiles() const { return {p_, p_.layout.shape.exact > 0 ? rules_.sinks : 0}; }
  __device__ static void sync_workers() { bar_sync(kWorkBarrier, 32 * kLiveWorkers); }
  // Of the warp that decides and those that prepare its next tile.
  __device__ static void take_turns() { bar_sync(kTurnBarrier, 32 * (1 + kLiveFollowers)); }

  // A token's gate, below every threshold for one that is not there.
  __device__ float gate(const LiveTile& tile, int token) const {
    return token < tile.count ? p_.gate[tile.row + token] : -INFINITY;
  }

  // ---- The workers: one head.

  // Starts to bring a tile, and where its snapshot goes.
  __device__ void fetch(int index, const LiveTile& tile) {
    static_assert(kCopiers == 32 * kLiveWorkers);
    Tokens& tokens = s_.tokens[index % 4];
    const int64_t stride = p_.token_stride;
    const int64_t at = tile.row * stride + head_ * p_.head_stride;
    const auto row = [](int token) { return token; };
    copy_rows<kDim>(static_cast<const __nv_bfloat16*>(p_.k) + at, stride, tile.count, row,
                    s_.fetched[index % 2], kDim);
    copy_rows<kDim>(static_cast<const __nv_bfloat16*>(p_.v) + at, stride, tile.count, row,
                    tokens.values, Tokens::kValueStride);
    const auto thread = static_cast<int>(threadIdx.x);
    if (thread < tile.count) {
      cp_async_ca<4>(shared_u32(&tokens.gate[thread]), p_.gate + tile.row + thread);
    }
    if (thread == 0) {
      uint8_t** snapshot = s_.snapshot[index % 4];
      snapshot[0] = nullptr;
      if (tile.snapshot >= 0) {
        const DeviceSlots& to = p_.snapshots[tile.snapshot].summary;
        cp_async_ca<8>(shared_u32(&snapshot[0]), &to.k_codes);
        cp_async_ca<8>(shared_u32(&snapshot[1]), &to.v_codes);
      }
    }
    cp_async_commit();
  }
  // When a tile has come: its keys, and products that need no averages, with its own tokens and
  // those of the tile before.
  __device__ void prepare(int index, const LaneBand<kDim>& band) {
    cp_async_wait<0>();
    sync_workers();
    Tokens& tokens = s_.tokens[index % 4];
    for (int token = warp_; token < kLiveTile; token += kLiveWorkers) {
      const float inverse = store_key<kDim>(lane_bits<kDim>(s_.fetched[index % 2] + token * kDim),
                                            band, tokens.keys + token * Tokens::kKeyStride);
      if (lane_id() == 0) tokens.inverse[token] = inverse;
    }
    sync_workers();
    float* part = s_.link.mine[index % 3];
    if (warp_ < kTokenTasks) {
      token_products<kBand>(warp_, tokens.keys, tokens.inverse, part);
    } else if (warp_ < 2 * kTokenTasks && index > 0) {
      before_products<kBand>(warp_ - kTokenTasks, tokens.keys, tokens.inverse,
                             s_.tokens[(index - 1) % 4].keys, part);
    }
  }

  // The head's keys or values, between global and shared memory.
  template <int kWidth>
  __device__ void read_slots(uint8_t* codes, float* slots) const {
    const StoredAverages from{codes + int64_t{head_} * slots_ * (4 * kWidth)};
    for (int i = static_cast<int>(threadIdx.x); i < kLiveSlots * kWidth / 4;
         i += 32 * kLiveWorkers) {
      const int slot = i / (kWidth / 4);
      const int quad = i % (kWidth / 4);
      LaneWords<float, 4> x{};
      if (slot < slots_) x = load_average<kWidth, 4>(from, slot, quad);
      store_average<kWidth>(x, slots, slot, quad);
    }
  }
  template <int kWidth>
  __device__ void write_slots(uint8_t* codes, const float* slots) const {
    const StoredAverages to{codes + int64_t{head_} * slots_ * (4 * kWidth)};
    for (int i = static_cast<int>(threadIdx.x); i < slots_ * kWidth / 4; i += 32 * kLiveWorkers) {
      const int slot = i / (kWidth / 4);
      const int quad = i % (kWidth / 4);
      store_average<kWidth>(load_average<kWidth, 4>(slots, slot, quad), to, slot, quad);
    }
  }
  // Rounds the averages to bf16, keys whole, as attention reads them.
  __device__ void store_snapshot(const LaneBand<kDim>& band, uint8_t* keys, uint8_t* values) const {
    const int64_t at = int64_t{head_} * slots_ * 32 + lane_id();
    auto* to_keys = reinterpret_cast<LaneBits<kDim>*>(keys) + at;
    auto* to_values = reinterpret_cast<LaneBits<kDim>*>(values) + at;
#pragma unroll 1
    for (int slot = warp_; slot < slots_; slot += kLiveWorkers) {
      to_keys[slot * 32] = band.expand(s_.keys + slot * kBand);
      to_values[slot * 32] =
          round_lane<kDim>(load_average<kDim, kDim / 32>(s_.values, slot, lane_id()));
    }
  }

  // Products with the averages as they are.
  __device__ void multiply_and_send(int index) {
    static_assert(kSlotTasks == kLiveWorkers);
    const Tokens& tokens = s_.tokens[index % 4];
    slot_products<kBand>(warp_, tokens.keys, tokens.inverse, s_.keys, slots_,
                         s_.link.mine[index % 3]);
    s_.link.send(index, head_, 32 * kLiveWorkers, kWorkBarrier);
  }

  // At its turn i a CTA brings tile i + 3, prepares tile i + 2, moves the averages by the decisions
  // of tile i, and multiplies tile i + 2 with them. (All in one place: the code of a loop should
  // fit into the instruction caches.)
  __device__ void work() {
    const LaneBand<kDim> band(p_.slow_dims, kBand);
    const float eta = p_.eta[head_];
    read_slots<kBand>(p_.bank.summary.k_codes, s_.keys);
    read_slots<kDim>(p_.bank.summary.v_codes, s_.values);
    LiveTiles walk = tiles();
    int known = 0;  // tiles brought
#pragma unroll 1
    for (int i = -3; i < 0 || i < known; ++i) {
      const bool ahead = i + 2 >= 0 && i + 2 < known;
      if (ahead) prepare(i + 2, band);
      LiveTile tile;
      if (known == i + 3 && walk.next(tile)) fetch(known++, tile);
      if (i >= 0) follow_decisions(i, eta, band);
      if (ahead) multiply_and_send(i + 2);
    }
    sync_workers();
    write_slots<kBand>(p_.bank.summary.k_codes, s_.keys);
    write_slots<kDim>(p_.bank.summary.v_codes, s_.values);
  }

  __device__ void follow_decisions(int index, float eta, const LaneBand<kDim>& band) {
    const int* decisions = s_.link.wait_decisions(index);
    sync_workers();  // the snapshot before is stored
    const Tokens& tokens = s_.tokens[index % 4];
    move_averages<kDim>({tokens.keys, tokens.values, tokens.gate}, decisions, eta,
                        rules_.gated_rate, s_.keys, s_.values, warp_, kLiveWorkers);
    sync_workers();
    uint8_t* const* snapshot = s_.snapshot[index % 4];
    if (snapshot[0] != nullptr) store_snapshot(band, snapshot[0], snapshot[1]);
  }

  // ---- In the first CTA, for all heads.

  __device__ uint64_t valid() const {
    return SummaryCounts(p_.bank, rules_, p_.eta, heads_).valid();
  }

  __device__ void route() {
    SummaryRouter router(rules_, p_.eta, heads_, slots_, valid());
    LiveTiles walk = tiles();
    LiveTile tile;
    if (!walk.next(tile)) return;
    float mine = gate(tile, lane_id());
    bool more = true;
    for (int i = 0; more; ++i) {
      const int count = tile.count;
      const float now = mine;
      more = walk.next(tile);
      if (more) mine = gate(tile, lane_id());
      take_turns();  // the tile is ready
      float* parts = s_.link.wait_parts(i);
      const int decision = router.route(parts, s_.scores[i % 2], count, now, s_.moves);
      take_turns();  // first, because more waits for it
      s_.link.broadcast(i, heads_, decision);
    }
  }

  // Prepares the tile that is decided next.
  __device__ void follow() {
    static_assert(kArrangers == 32 * kLiveFollowers);
    const int warp = warp_ - kLiveWorkers - 2;
    const int thread = static_cast<int>(threadIdx.x) - 32 * (kLiveWorkers + 2);
    if (warp >= kLiveFollowers) return;
    uint64_t used = valid();
    LiveTiles walk = tiles();
    LiveTile tile;
    int i = 0;
#pragma unroll 1
    for (; walk.next(tile); ++i) {
      float* parts = s_.link.wait_parts(i);
      float* scores = s_.scores[i % 2];
      arrange_tile(parts, used, heads_, scores, thread, kFollowBarrier);
      if (i > 0) {
        take_turns();  // the tile before is decided
        follow_moves(s_.moves, rules_, p_.eta, heads_, parts, scores, warp, kLiveFollowers);
        used |= opened();
      }
      take_turns();  // this one may be
    }
    if (i > 0) take_turns();
  }
  // Slots that the last tile has opened.
  __device__ uint64_t opened() const {
    const int decision = s_.moves.decision[lane_id() % kLiveTile];
    const int slot = decision >= kOpens ? decision % kOpens : -1;
    const unsigned low = slot >= 0 && slot < 32 ? 1u << slot : 0;
    const unsigned high = slot >= 32 ? 1u << (slot - 32) : 0;
    return __reduce_or_sync(kWarp, low) | uint64_t{__reduce_or_sync(kWarp, high)} << 32;
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
