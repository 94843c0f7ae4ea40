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
  alignas(16) ExactTokens<kDim> tokens;
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
  __device__ void put(const Fetched& from) {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int place = warp_ + i * kLiveWorkers;
      store_row<kDim>(from.keys[i], s_.tokens.keys + place * kTokenStride<kDim>);
      store_row<kDim>(from.values[i], s_.tokens.values + place * kTokenStride<kDim>);
      const float inverse = inverse_norm(warp_sum(lane_squares<kDim>(from.values[i])));
      if (lane_id() == 0) s_.tokens.inverse[place] = inverse;
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
  __device__ void store_slots(const DeviceLandmarkBank& to) const {
    const auto bytes = static_cast<uint32_t>(slots_ * kDim * 2);
    cp_async_bulk_store(to.exact.k_codes + int64_t{head_} * bytes, s_.keys, bytes);
    cp_async_bulk_store(to.exact.v_codes + int64_t{head_} * bytes, s_.values, bytes);
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

  __device__ void write(int word) {
    const bool writes = __any_sync(kWarp, lane_id() < kLiveTile && word >= 0);
    if (!writes) return;
    wait_for_store();
    for (int place = warp_; place < kLiveTile; place += kLiveWorkers) {
      const int slot = __shfl_sync(kWarp, word, place);
      if (slot < 0) continue;
      const int at = place * kTokenStride<kDim>;
      store_row<kDim>(lane_bits<kDim>(s_.tokens.keys + at), s_.keys + slot * kDim);
      store_row<kDim>(lane_bits<kDim>(s_.tokens.values + at), s_.values + slot * kDim);
    }
    finish_writes();
  }

  __device__ void work() {
    read_slots(p_.bank.exact.k_codes, s_.keys);
    read_slots(p_.bank.exact.v_codes, s_.values);
    finish_writes();
    ScanPasses passes(p_, rules_);
    ExactPass pass, ahead;
    Fetched fetched;
    bool more = passes.next(pass);
    if (more) fetch(pass, 0, fetched);
    for (int i = 0; more; ++i) {
      if (pass.pins > 0) pin(pass);
      put(fetched);
      more = passes.next(ahead);
      if (more && ahead.kind != ExactPass::group) fetch(ahead, 0, fetched);
      sync_workers();
      float* part = s_.link.mine[i % 2];
      for (int task = warp_; task < kExactTasks; task += kLiveWorkers) {
        float cosines[4];
        exact_cosines<kDim>(task, s_.tokens.values, s_.tokens.inverse, s_.values, slots_, cosines);
        store_cosines(task, cosines, part);
      }
      finish_writes();
      if (threadIdx.x == 0) s_.link.send(i, head_);
      const int word = s_.link.wait_decisions(i)[lane_id()];
      write(word);
      if (threadIdx.x == 0 && pass.snapshot >= 0) store_slots(p_.snapshots[pass.snapshot]);
      if (more && ahead.kind == ExactPass::group) {
        fetch(ahead, __shfl_down_sync(kWarp, word, kLiveTile), fetched);
      }
      sync_workers();  // all have used the tokens
      pass = ahead;
    }
    if (threadIdx.x != 0) return;
    store_slots(p_.bank);
    cp_async_bulk_wait_group();
  }

  // In the first CTA, for all heads.
  __device__ void match() {
    const int thread = static_cast<int>(threadIdx.x) - 32 * kLiveWorkers;
    ExactMatcher matcher(p_.bank, rules_, heads_, p_.first_position, s_.match, thread,
                         kMatchBarrier);
    ScanPasses passes(p_, rules_);
    ExactPass pass;
    if (thread == 0) {
      s_.link.expect(0, heads_);
      s_.link.expect(1, heads_);
    }
    bool opens = true;
    for (int i = 0; passes.next(pass); ++i) {
      if (opens) matcher.open(pass, [this](int row) { return p_.gate[row]; });
      opens = pass.kind == ExactPass::whole ||
              (pass.kind == ExactPass::group && pass.first + pass.count >= pass.candidates);
      matcher.add_heads(s_.link.wait_parts(i), ExactPart::kFloats);
      const int word = matcher.decide(pass);
      if (thread >= 32) continue;
      if (thread == 0) s_.link.expect(i + 2, heads_);
      s_.link.broadcast(i, heads_, word);
      if (pass.snapshot >= 0) matcher.store(p_.snapshots[pass.snapshot]);
    }
    if (thread < 32) matcher.store(p_.bank);
  }

  const LandmarkScanLaunch& p_;
  const LiveRules& rules_;
  ExactScanShared<kDim>& s_;
  int head_, heads_, warp_, slots_;
};

}  // namespace kvg::cuda
