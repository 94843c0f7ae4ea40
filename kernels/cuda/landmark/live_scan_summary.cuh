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
// CTA; what the moves of tile i do to them is worked out there, a quarter of the tile after the
// other (follow_moves), and at the same time all CTAs move their averages, ready for the products
// of tile i + 2.
namespace kvg::cuda {

inline constexpr int kLiveWorkers = 8;    // warps of a CTA that work on a bank of its head
inline constexpr int kLiveFollowers = 8;  // in the first CTA

using SummaryLink = LiveLink<SummaryPart::kFloats, SummaryPart::kStride, kLiveTile>;

// In the first CTA.
struct SummaryDeciderShared {
  SummaryLink::Decider link;
  int scores[2][kLiveTile * kScoreStride];
  LiveRates rates[2];
  LiveMoves moves;
  // A quarter of the moves of a tile is there, says each lane of the warp that decides.
  uint64_t moved[kLiveTile / kLiveQuarter];
  // For the warp that keeps the counts.
  int decisions[2][kLiveTile];
  float gates[2][kLiveTile];
  uint64_t decided[2];

  // By one thread, before a cluster barrier.
  __device__ void open() {
    for (uint64_t& barrier : moved) hopper::init_barrier(&barrier, 32);
    for (uint64_t& barrier : decided) hopper::init_barrier(&barrier, 32);
    link.open(32);  // of the warp that keeps the counts
  }
};

// In the CTA of a head.
template <int kDim>
struct SummaryHeadShared {
  alignas(16) float keys[kLiveSlots * kDim / 2];
  alignas(16) float values[kLiveSlots * kDim];
  alignas(16) SummaryTokens<kDim> tokens[4];
  alignas(16) __nv_bfloat16 fetched[2][kLiveTile * kDim];  // keys, all dimensions
  uint8_t* snapshot[4][2];                                 // keys and values, null: none
  SummaryLink::Head link;
};

__device__ inline LiveTiles summary_tiles(const LiveScanLaunch& launch) {
  const bool pins = launch.scan.layout.shape.exact > 0;
  return {launch.scan, pins ? launch.rules.sinks : 0};
}

// One head, by kLiveWorkers warps of its CTA, whose threads count from 0 and share `barrier`.
template <int kDim>
class SummaryHead {
 public:
  __device__ SummaryHead(const LiveScanLaunch& launch, SummaryHeadShared<kDim>& shared,
                         SummaryLink::Decider& decider, int head, int thread, int barrier)
      : launch_(launch),
        p_(launch.scan),
        s_(shared),
        decider_(decider),
        head_(head),
        thread_(thread),
        barrier_(barrier),
        warp_(thread / 32),
        slots_(p_.layout.shape.summary) {}

  // At its turn i a CTA brings tile i + 3, prepares tile i + 2, moves the averages by the decisions
  // of tile i, and multiplies tile i + 2 with them. (All in one place: the code of a loop should
  // fit into the instruction caches.)
  __device__ void run() {
    read_slots<kBand>(p_.bank.summary.k_codes, s_.keys);
    read_slots<kDim>(p_.bank.summary.v_codes, s_.values);
    const LaneBand<kDim> band(p_.slow_dims, kBand);
    const float eta = p_.eta[head_];
    LiveTiles walk = summary_tiles(launch_);
    int known = 0;  // tiles brought
#pragma unroll 1
    for (int i = -3; i < 0 || i < known; ++i) {
      const bool ahead = i + 2 >= 0 && i + 2 < known;
      if (ahead) prepare(i + 2, band);
      LiveTile tile;
      if (known == i + 3 && walk.next(tile)) fetch(known++, tile);
      const int* decisions = i >= 0 ? s_.link.wait_decisions(i) : nullptr;
      sync_workers();  // the snapshot before is stored, the tokens' products are there
      if (ahead && thread_ == 0) {
        s_.link.send(i + 2, head_, SummaryPart::kTokens, SummaryPart::kFloats, decider_);
      }
      if (i >= 0) move(i, decisions, eta);
      if (ahead) multiply_and_send(i + 2);  // before the snapshot, which nobody waits for
      if (i >= 0) store_snapshot(s_.snapshot[i % 4], band);
    }
    sync_workers();
    write_slots<kBand>(p_.bank.summary.k_codes, s_.keys);
    write_slots<kDim>(p_.bank.summary.v_codes, s_.values);
  }

 private:
  static constexpr int kBand = kDim / 2;
  using Tokens = SummaryTokens<kDim>;

  __device__ void sync_workers() const { bar_sync(barrier_, 32 * kLiveWorkers); }

  // Starts to bring a tile, and where its snapshot goes.
  __device__ void fetch(int index, const LiveTile& tile) {
    static_assert(kCopiers == 32 * kLiveWorkers);
    Tokens& tokens = s_.tokens[index % 4];
    const int64_t stride = p_.token_stride;
    const int64_t at = tile.row * stride + head_ * p_.head_stride;
    const auto row = [](int token) { return token; };
    copy_rows<kDim>(static_cast<const __nv_bfloat16*>(p_.k) + at, stride, tile.count, row,
                    s_.fetched[index % 2], kDim, thread_);
    copy_rows<kDim>(static_cast<const __nv_bfloat16*>(p_.v) + at, stride, tile.count, row,
                    tokens.values, Tokens::kValueStride, thread_);
    if (thread_ < tile.count) {
      cp_async_ca<4>(shared_u32(&tokens.gate[thread_]), p_.gate + tile.row + thread_);
    } else if (thread_ < kLiveTile) {
      tokens.gate[thread_] = 0;
    }
    if (thread_ == 0) {
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
    if (thread_ < kLiveTile) part[SummaryPart::kGates + thread_] = tokens.gate[thread_];
    if (warp_ < kTokenTasks) {
      token_products<kBand>(warp_, tokens.keys, tokens.inverse, part);
    } else if (warp_ < 2 * kTokenTasks && index > 0) {
      before_products<kBand>(warp_ - kTokenTasks, tokens.keys, tokens.inverse,
                             s_.tokens[(index - 1) % 4].keys, part);
    }
    hopper::fence_for_async_proxy();
  }

  // The head's keys or values, between global and shared memory.
  template <int kWidth>
  __device__ void read_slots(uint8_t* codes, float* slots) const {
    const StoredAverages from{codes + int64_t{head_} * slots_ * (4 * kWidth)};
    for (int i = thread_; i < kLiveSlots * kWidth / 4; i += 32 * kLiveWorkers) {
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
    for (int i = thread_; i < slots_ * kWidth / 4; i += 32 * kLiveWorkers) {
      const int slot = i / (kWidth / 4);
      const int quad = i % (kWidth / 4);
      store_average<kWidth>(load_average<kWidth, 4>(slots, slot, quad), to, slot, quad);
    }
  }
  // Rounds the averages to bf16, keys whole, as attention reads them.
  __device__ void store_snapshot(uint8_t* const* to, const LaneBand<kDim>& band) const {
    if (to[0] == nullptr) return;
    const int64_t at = int64_t{head_} * slots_ * 32 + lane_id();
    auto* to_keys = reinterpret_cast<LaneBits<kDim>*>(to[0]) + at;
    auto* to_values = reinterpret_cast<LaneBits<kDim>*>(to[1]) + at;
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
    hopper::fence_for_async_proxy();
    sync_workers();
    if (thread_ != 0) return;
    s_.link.expect(index);
    s_.link.send(index, head_, 0, SummaryPart::kTokens, decider_);
  }

  __device__ void move(int index, const int* decisions, float eta) {
    const Tokens& tokens = s_.tokens[index % 4];
    static_assert(kBand + kDim <= 32 * kLiveWorkers);
    if (thread_ < kBand + kDim) {
      const int at = thread_ - kBand;  // of values, if it is one
      const LiveCoordinate coordinate =
          at < 0
              ? LiveCoordinate{tokens.keys + thread_, Tokens::kKeyStride, s_.keys + thread_, kBand}
              : LiveCoordinate{tokens.values + at, Tokens::kValueStride, s_.values + at, kDim};
      coordinate.move(decisions, tokens.gate, eta, launch_.rules.gated_rate);
    }
    sync_workers();
  }

  const LiveScanLaunch& launch_;
  const LandmarkScanLaunch& p_;
  SummaryHeadShared<kDim>& s_;
  SummaryLink::Decider& decider_;
  int head_, thread_, barrier_, warp_, slots_;
};

// Takes the decisions for all heads, in the first CTA.
class SummaryDecider {
 public:
  // `there`: where every CTA of a head has it.
  __device__ SummaryDecider(const LiveScanLaunch& launch, SummaryDeciderShared& shared,
                            SummaryLink::Head& there)
      : launch_(launch),
        p_(launch.scan),
        rules_(launch.rules),
        s_(shared),
        there_(there),
        heads_(p_.layout.shape.kv_heads),
        slots_(p_.layout.shape.summary) {}

  // By one warp, for which all others wait: what it needs comes through shared memory, because a
  // load from global memory takes a third of a tile's time beside products.
  __device__ void route() {
    SummaryRouter router(rules_, heads_, slots_, valid());
    LiveTiles walk = summary_tiles(launch_);
    LiveTile tile;
    for (int i = 0; walk.next(tile); ++i) {
      take_turns();
      float* parts = s_.link.wait_parts(i);
      const auto pass_on = [&](int quarter) { hopper::arrive(&s_.moved[quarter]); };
      const int decision =
          router.route(parts, s_.scores[i % 2], s_.rates[i % 2], tile.count, s_.moves, pass_on);
      s_.link.broadcast(i, heads_, decision, there_);
      keep(i, decision);
    }
  }

  // Prepares the tile that is decided next. `warp` of kLiveFollowers.
  __device__ void follow(int warp) {
    static_assert(kArrangers == 32 * kLiveFollowers);
    const int thread = 32 * warp + lane_id();
    uint64_t used = valid();
    LiveTiles walk = summary_tiles(launch_);
    LiveTile tile;
#pragma unroll 1
    for (int i = 0; walk.next(tile); ++i) {
      float* parts = s_.link.wait_parts(i);
      const int token = thread / kLiveHeads;
      const float gate = thread < kRaters ? parts[SummaryPart::kGates + token] : 0;
      int* scores = s_.scores[i % 2];
      arrange_tile(parts, used, heads_, scores, thread, kFollowBarrier);
      if (thread < kRaters) {
        arrange_rates(parts, rules_, p_.eta, heads_, gate, s_.rates[i % 2], thread);
      }
      bar_sync(kFollowBarrier, kArrangers);
      if (i > 0) {
        follow_tile(i - 1, parts, scores, warp);
        used |= opened();
      }
      take_turns();
    }
  }
  // What the decisions make of the counts; one warp.
  __device__ void keep_counts() {
    SummaryCounts counts(p_.bank, rules_, p_.eta, heads_);
    LiveTiles walk = summary_tiles(launch_);
    LiveTile tile;
    s_.link.expect(0, heads_, lane_id() == 0);
    s_.link.expect(1, heads_, lane_id() == 0);
    for (int i = 0; walk.next(tile); ++i) {
      mbarrier_wait(&s_.decided[i % 2], SummaryLink::phase(i));
      const int decision = lane_id() < kLiveTile ? s_.decisions[i % 2][lane_id()] : -1;
      const float gate = s_.gates[i % 2][lane_id() % kLiveTile];
      s_.link.expect(i + 2, heads_, lane_id() == 0);
      __syncwarp();
      counts.take(decision, gate, tile.count);
      if (tile.snapshot >= 0) counts.store(p_.snapshots[tile.snapshot]);
    }
    counts.store(p_.bank);
  }

 private:
  static constexpr int kTurnBarrier = 1, kFollowBarrier = 2;

  // Of the warp that decides and those that have prepared its next tile.
  __device__ static void take_turns() { bar_sync(kTurnBarrier, 32 * (1 + kLiveFollowers)); }

  __device__ uint64_t valid() const {
    return SummaryCounts(p_.bank, rules_, p_.eta, heads_).valid();
  }
  // Follows the moves of a tile as they come, a quarter of them at least.
  __device__ void follow_tile(int tile, float* parts, int* scores, int warp) {
    constexpr int kQuarters = kLiveTile / kLiveQuarter;
    const auto phase = static_cast<uint32_t>(tile % 2);
#pragma unroll 1
    for (int quarter = 0; quarter < kQuarters;) {
      const int begin = quarter * kLiveQuarter;
      mbarrier_wait(&s_.moved[quarter++], phase);
      while (quarter < kQuarters && mbarrier_test(&s_.moved[quarter], phase)) ++quarter;
      follow_moves(s_.moves, s_.rates[tile % 2], begin, quarter * kLiveQuarter, parts, scores, warp,
                   kLiveFollowers);
    }
  }
  // Slots that the last tile has opened.
  __device__ uint64_t opened() const {
    const int decision = s_.moves.decision[lane_id() % kLiveTile];
    const int slot = decision >= kOpens ? decision % kOpens : -1;
    const unsigned low = slot >= 0 && slot < 32 ? 1u << slot : 0;
    const unsigned high = slot >= 32 ? 1u << (slot - 32) : 0;
    return __reduce_or_sync(kWarp, low) | uint64_t{__reduce_or_sync(kWarp, high)} << 32;
  }

  // For keep_counts().
  __device__ void keep(int tile, int decision) {
    const int place = tile % 2;
    if (lane_id() < kLiveTile) {
      s_.decisions[place][lane_id()] = decision;
      s_.gates[place][lane_id()] = s_.rates[place].gate[lane_id()];
    }
    hopper::arrive(&s_.decided[place]);
    __syncwarp();
  }

  const LiveScanLaunch& launch_;
  const LandmarkScanLaunch& p_;
  const LiveRules& rules_;
  SummaryDeciderShared& s_;
  SummaryLink::Head& there_;
  int heads_, slots_;
};

}  // namespace kvg::cuda
