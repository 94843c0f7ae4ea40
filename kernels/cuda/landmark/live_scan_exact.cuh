#pragma once

#include "kernels/cuda/landmark/live_link.cuh"
#include "kernels/cuda/landmark/live_match.cuh"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/live_scan_summary.cuh"
#include "kernels/cuda/landmark/live_tokens.cuh"

#include <cstdint>

// The exact bank of a scan: what the warps of its CTAs do.
namespace kvg::cuda {

using ExactLink = LiveLink<ExactPart::kFloats, ExactPart::kFloats, kLiveHeads, 2 * kLiveTile>;

template <int kDim>
struct ExactScanShared {
  alignas(16) __nv_bfloat16 keys[kLiveSlots * kDim];  // as in global memory, and so are the values
  alignas(16) __nv_bfloat16 values[kLiveSlots * kDim];
  alignas(16) ExactTokens<kDim> tokens[2];
  ExactLink link;
  ExactMatchShared match;  // in the first CTA
};

template <int kDim>
class ExactScan {
 public:
  __device__ ExactScan(const LiveScanLaunch& launch, ExactScanShared<kDim>& shared)
      : p_(launch.scan),
        rules_(launch.rules),
        s_(shared),
        head_(cluster_rank()),
        heads_(p_.layout.shape.kv_heads),
        warp_(static_cast<int>(threadIdx.x) / 32),
        slots_(p_.layout.shape.exact) {}

  __device__ void run() {
    if (threadIdx.x == 0) s_.link.open();
    cluster_sync();
    if (warp_ < kLiveWorkers) {
      work();
    } else if (head_ == 0 && warp_ < kLiveWorkers + kMatchWarps) {
      match();
    }
    cluster_sync();  // others may still send to this CTA
  }

 private:
  static constexpr int kWorkBarrier = 1, kMatchBarrier = 2;
  static constexpr int kTokens = kLiveTile / kLiveWorkers;  // of a tile, that a warp brings

  struct Fetched {
    LaneBits<kDim> keys[kTokens], values[kTokens];
  };

  __device__ static void sync_workers() { bar_sync(kWorkBarrier, 32 * kLiveWorkers); }

  __device__ LaneBits<kDim> token(const void* data, int row) const {
    const int64_t at = (int64_t{row} * heads_ + head_) * kDim;
    return lane_bits<kDim>(static_cast<const __nv_bfloat16*>(data) + at);
  }
  // `chosen`: tokens of the eviction by lane, where the pass is of candidates.
  __device__ void fetch(const ExactPass& pass, int chosen, Fetched& to) const {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int place = warp_ + i * kLiveWorkers;
      const int at = __shfl_sync(kWarp, chosen, place);
      to.keys[i] = to.values[i] = {};
      if (place >= pass.count) continue;
      const int row = pass.row + (pass.kind == ExactPass::group ? at : pass.first + place);
      to.keys[i] = token(p_.k, row);
      to.values[i] = token(p_.v, row);
    }
  }
  __device__ void put(const Fetched& from, ExactTokens<kDim>& tokens) const {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int place = warp_ + i * kLiveWorkers;
      store_row<kDim>(from.keys[i], tokens.keys + place * kTokenStride<kDim>);
      store_row<kDim>(from.values[i], tokens.values + place * kTokenStride<kDim>);
      const float inverse = inverse_norm(warp_sum(lane_squares<kDim>(from.values[i])));
      if (lane_id() == 0) tokens.inverse[place] = inverse;
    }
  }

  __device__ void read_slots(const uint8_t* codes, __nv_bfloat16* slots) const {
    const int count = slots_ * kDim / 8;
    const auto* from = reinterpret_cast<const uint4*>(codes) + head_ * count;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += 32 * kLiveWorkers) {
      reinterpret_cast<uint4*>(slots)[i] = from[i];
    }
  }
  // By one thread, after all writers have called fence_proxy_async() and a barrier.
  __device__ void store_slots(uint8_t* keys, uint8_t* values) const {
    const auto bytes = static_cast<uint32_t>(slots_ * kDim * 2);
    cp_async_bulk_store(keys + int64_t{head_} * bytes, s_.keys, bytes);
    cp_async_bulk_store(values + int64_t{head_} * bytes, s_.values, bytes);
    cp_async_bulk_commit_group();
  }
  // Before slots change: the snapshot before has been read.
  __device__ static void wait_for_store() {
    if (threadIdx.x == 0) cp_async_bulk_wait_group_read();
    sync_workers();
  }
  __device__ void finish_writes() const {
    fence_proxy_async();
    sync_workers();
  }

  // Tokens of positions below `sinks`, each into the slot that is its own.
  __device__ void pin(const ExactPass& pass) {
    wait_for_store();
    for (int i = warp_; i < pass.pins; i += kLiveWorkers) {
      const auto slot = static_cast<int>(p_.first_position) + pass.pin_row + i;
      store_row<kDim>(token(p_.k, pass.pin_row + i), s_.keys + slot * kDim);
      store_row<kDim>(token(p_.v, pass.pin_row + i), s_.values + slot * kDim);
    }
    finish_writes();
  }

  __device__ void write(const ExactTokens<kDim>& tokens, int word) {
    const bool writes = __any_sync(kWarp, lane_id() < kLiveTile && word >= 0);
    if (!writes) return;
    wait_for_store();
    for (int place = warp_; place < kLiveTile; place += kLiveWorkers) {
      const int slot = __shfl_sync(kWarp, word, place);
      if (slot < 0) continue;
      const int at = place * kTokenStride<kDim>;
      store_row<kDim>(lane_bits<kDim>(tokens.keys + at), s_.keys + slot * kDim);
      store_row<kDim>(lane_bits<kDim>(tokens.values + at), s_.values + slot * kDim);
    }
    finish_writes();
  }

  // The products of a pass whose tokens are there.
  __device__ void multiply_and_send(int pass) {
    const ExactTokens<kDim>& tokens = s_.tokens[pass % 2];
    const ExactTokens<kDim>& before = s_.tokens[(pass + 1) % 2];
    for (int task = warp_; task < kSlotTasks + 2 * kTokenTasks; task += kLiveWorkers) {
      const int row = 8 * (task % kSlotTasks) + lane_id() / 4;
      const __nv_bfloat16* values = s_.values + row * kDim;
      if (task >= kSlotTasks) {
        const bool own = task < kSlotTasks + kTokenTasks;
        values = (own ? tokens : before).values + row % kLiveTile * kTokenStride<kDim>;
      }
      const bool there = task >= kSlotTasks || row < slots_;
      float c[4];
      exact_cosines<kDim>(tokens.values, tokens.inverse, there ? values : nullptr, c);
      store_cosines(task, c, s_.link.mine[pass % 3]);
    }
    finish_writes();
    if (threadIdx.x == 0) s_.link.send(pass, head_);
  }

  __device__ void work() {
    read_slots(p_.bank.exact.k_codes, s_.keys);
    read_slots(p_.bank.exact.v_codes, s_.values);
    ScanPasses walk(p_, rules_);
    ExactPass pass, next;
    Fetched fetched;
    if (!walk.next(pass)) pass.count = -1;
    const bool any = pass.count >= 0;
    if (any) {
      finish_writes();
      if (pass.pins > 0) pin(pass);
      fetch(pass, 0, fetched);
      put(fetched, s_.tokens[0]);
      sync_workers();
      multiply_and_send(0);
    }
    bool more = any && walk.next(next);
    if (more && !next.waits()) fetch(next, 0, fetched);
    for (int i = 0; any; ++i) {
      uint8_t* keys = nullptr;
      uint8_t* values = nullptr;
      if (threadIdx.x == 0 && pass.snapshot >= 0) {
        keys = p_.snapshots[pass.snapshot].exact.k_codes;
        values = p_.snapshots[pass.snapshot].exact.v_codes;
      }
      const bool waits = more && next.waits();
      ExactPass third;
      bool yet_more = false;
      if (more && !waits) {
        put(fetched, s_.tokens[(i + 1) % 2]);
        yet_more = walk.next(third);
        if (yet_more && !third.waits()) fetch(third, 0, fetched);
        sync_workers();
        multiply_and_send(i + 1);
      }
      const int word = s_.link.wait_decisions(i)[lane_id()];
      write(s_.tokens[i % 2], word);
      if (keys != nullptr) store_slots(keys, values);
      if (waits) {
        if (next.pins > 0) pin(next);
        fetch(next, __shfl_down_sync(kWarp, word, kLiveTile), fetched);
        put(fetched, s_.tokens[(i + 1) % 2]);
        yet_more = walk.next(third);
        if (yet_more && !third.waits()) fetch(third, 0, fetched);
        sync_workers();
        multiply_and_send(i + 1);
      }
      if (!more) break;
      pass = next;
      next = third;
      more = yet_more;
    }
    finish_writes();
    if (threadIdx.x != 0) return;
    store_slots(p_.bank.exact.k_codes, p_.bank.exact.v_codes);
    cp_async_bulk_wait_group();
  }

  // In the first CTA, for all heads.
  __device__ void match() {
    const int thread = static_cast<int>(threadIdx.x) - 32 * kLiveWorkers;
    ExactMatcher matcher(p_.bank, rules_, heads_, p_.first_position, s_.match, thread,
                         kMatchBarrier);
    ScanPasses walk(p_, rules_);
    ExactPass pass, next;
    if (thread == 0) {
      s_.link.expect(0, heads_);
      s_.link.expect(1, heads_);
    }
    bool more = walk.next(pass);
    float gate = more && thread < pass.tokens ? p_.gate[pass.row + thread] : 0;
    for (int i = 0; more; ++i) {
      if (pass.opens()) matcher.open(pass, gate);
      more = walk.next(next);
      if (more && next.opens() && thread < next.tokens) gate = p_.gate[next.row + thread];
      matcher.add_heads(s_.link.wait_parts(i), ExactPart::kFloats);
      if (i > 0 && !pass.waits()) matcher.follow_writes();
      const int word = matcher.decide(pass);
      if (thread < 32) {
        if (thread == 0) s_.link.expect(i + 2, heads_);
        s_.link.broadcast(i, heads_, word);
        if (pass.snapshot >= 0) matcher.store(p_.snapshots[pass.snapshot]);
      }
      pass = next;
    }
    if (thread < 32) matcher.store(p_.bank);
  }

  const LandmarkScanLaunch& p_;
  const LiveRules& rules_;
  ExactScanShared<kDim>& s_;
  int head_, heads_, warp_, slots_;
};

}  // namespace kvg::cuda
