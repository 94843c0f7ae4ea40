#pragma once

#include "kernels/cuda/landmark/live_link.cuh"
#include "kernels/cuda/landmark/live_match.cuh"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/live_scan_summary.cuh"
#include "kernels/cuda/landmark/live_tokens.cuh"

#include <cstdint>

// The exact bank of a scan: what the warps of its CTAs do.
namespace kvg::cuda {

inline constexpr int kMatchWarps = 4;  // in the first CTA

using ExactLink = LiveLink<ExactPart::kFloats, ExactPart::kFloats, 2 * kLiveTile>;

// In the first CTA.
struct ExactDeciderShared {
  ExactLink::Decider link;
  ExactMatchShared match;
  uint8_t* valid[2];  // where a snapshot has it
};

// In the CTA of a head.
template <int kDim>
struct ExactHeadShared {
  alignas(16) __nv_bfloat16 keys[kLiveSlots * kDim];  // as in global memory, and so are the values
  alignas(16) __nv_bfloat16 values[kLiveSlots * kDim];
  alignas(16) ExactTokens<kDim> tokens[3];
  uint8_t* snapshot[3][2];  // keys and values, null: none
  ExactLink::Head link;
};

// One head, by kLiveWorkers warps of its CTA, whose threads count from 0 and share `barrier`.
template <int kDim>
class ExactHead {
 public:
  __device__ ExactHead(const LiveScanLaunch& launch, ExactHeadShared<kDim>& shared,
                       ExactLink::Decider& decider, int head, int thread, int barrier)
      : p_(launch.scan),
        rules_(launch.rules),
        s_(shared),
        decider_(decider),
        head_(head),
        thread_(thread),
        barrier_(barrier),
        warp_(thread / 32),
        slots_(p_.layout.shape.exact) {}

  // At its turn i a CTA multiplies pass i + 1 with the slots, unless that has to wait, and brings
  // pass i + 2; then it writes what pass i decides. A pass that waits is brought and multiplied
  // after that.
  __device__ void run() {
    read_slots(p_.bank.exact.k_codes, s_.keys);
    read_slots(p_.bank.exact.v_codes, s_.values);
    finish_writes();
    ScanPasses walk(p_, rules_);
    ExactPass next, third;  // passes i + 1 and i + 2
    bool more = walk.next(next);
    bool brought = false;  // pass i + 1
#pragma unroll 1
    for (int i = -1; i < 0 || more; ++i) {
      const bool any = more;
      const bool waits = any && (next.waits() || !brought);
      const bool yet_more = any && walk.next(third);
      const int* words = nullptr;
#pragma unroll 1
      for (int part = 0; part < 2; ++part) {
        if (part == 1 && i >= 0) words = write_decided(i);
        if (!any || (part == 1) != waits) continue;
        if (waits) {
          if (next.pins > 0) pin(next);
          fetch(i + 1, next, words == nullptr ? nullptr : words + kLiveTile);
        }
        prepare(i + 1);
        brought = yet_more && !third.waits();
        if (brought) fetch(i + 2, third, nullptr);
        multiply_and_send(i + 1);
      }
      next = third;
      more = yet_more;
      if (any && !more) write_decided(i + 1);
    }
    finish_writes();
    if (thread_ != 0) return;
    store_slots(p_.bank.exact.k_codes, p_.bank.exact.v_codes);
    cp_async_bulk_wait_group();
  }

 private:
  using Tokens = ExactTokens<kDim>;

  __device__ void sync_workers() const { bar_sync(barrier_, 32 * kLiveWorkers); }

  __device__ LaneBits<kDim> token(const void* data, int row) const {
    const int64_t at = row * p_.token_stride + head_ * p_.head_stride;
    return lane_bits<kDim>(static_cast<const __nv_bfloat16*>(data) + at);
  }
  // Starts to bring the tokens of a pass, and where its snapshot goes. `chosen`: which tokens of
  // the eviction, where the pass is of candidates.
  __device__ void fetch(int index, const ExactPass& pass, const int* chosen) {
    static_assert(kCopiers == 32 * kLiveWorkers);
    Tokens& tokens = s_.tokens[index % 3];
    const bool group = pass.kind == ExactPass::group;
    const auto row = [&](int token) {
      return pass.row + (group ? chosen[token] : pass.first + token);
    };
    const int64_t stride = p_.token_stride;
    const int64_t at = head_ * p_.head_stride;
    copy_rows<kDim>(static_cast<const __nv_bfloat16*>(p_.k) + at, stride, pass.count, row,
                    tokens.keys, kTokenStride<kDim>, thread_);
    copy_rows<kDim>(static_cast<const __nv_bfloat16*>(p_.v) + at, stride, pass.count, row,
                    tokens.values, kTokenStride<kDim>, thread_);
    if (thread_ == 0) {
      uint8_t** snapshot = s_.snapshot[index % 3];
      snapshot[0] = nullptr;
      if (pass.snapshot >= 0) {
        const DeviceSlots& to = p_.snapshots[pass.snapshot].exact;
        cp_async_ca<8>(shared_u32(&snapshot[0]), &to.k_codes);
        cp_async_ca<8>(shared_u32(&snapshot[1]), &to.v_codes);
      }
    }
    cp_async_commit();
  }
  // When they have come.
  __device__ void prepare(int index) {
    cp_async_wait<0>();
    sync_workers();
    Tokens& tokens = s_.tokens[index % 3];
    for (int token = warp_; token < kLiveTile; token += kLiveWorkers) {
      const auto bits = lane_bits<kDim>(tokens.values + token * kTokenStride<kDim>);
      const float inverse = inverse_norm(warp_sum(lane_squares<kDim>(bits)));
      if (lane_id() == 0) tokens.inverse[token] = inverse;
    }
    sync_workers();
  }

  __device__ void read_slots(const uint8_t* codes, __nv_bfloat16* slots) const {
    const int count = slots_ * kDim / 8;
    const auto* from = reinterpret_cast<const uint4*>(codes) + head_ * count;
    for (int i = thread_; i < count; i += 32 * kLiveWorkers) {
      reinterpret_cast<uint4*>(slots)[i] = from[i];
    }
  }
  // By one thread, after all writers have called hopper::fence_for_async_proxy() and a barrier.
  __device__ void store_slots(uint8_t* keys, uint8_t* values) const {
    const auto bytes = static_cast<uint32_t>(slots_ * kDim * 2);
    cp_async_bulk_store(keys + int64_t{head_} * bytes, s_.keys, bytes);
    cp_async_bulk_store(values + int64_t{head_} * bytes, s_.values, bytes);
    cp_async_bulk_commit_group();
  }
  // Before slots change: the snapshot before has been read.
  __device__ void wait_for_store() const {
    if (thread_ == 0) cp_async_bulk_wait_group_read();
    sync_workers();
  }
  __device__ void finish_writes() const {
    hopper::fence_for_async_proxy();
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

  __device__ void write(const Tokens& tokens, int word) {
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
  __device__ void multiply_and_send(int index) {
    const Tokens& tokens = s_.tokens[index % 3];
    const Tokens& before = s_.tokens[(index + 2) % 3];
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
      store_cosines(task, c, s_.link.mine[index % 3]);
    }
    hopper::fence_for_async_proxy();
    sync_workers();
    if (thread_ != 0) return;
    s_.link.expect(index);
    s_.link.send(index, head_, 0, ExactPart::kFloats, decider_);
  }

  // Returns the words of the decision.
  __device__ const int* write_decided(int index) {
    const int* words = s_.link.wait_decisions(index);
    write(s_.tokens[index % 3], words[lane_id()]);
    uint8_t* const* snapshot = s_.snapshot[index % 3];
    if (thread_ == 0 && snapshot[0] != nullptr) store_slots(snapshot[0], snapshot[1]);
    return words;
  }

  const LandmarkScanLaunch& p_;
  const LiveRules& rules_;
  ExactHeadShared<kDim>& s_;
  ExactLink::Decider& decider_;
  int head_, thread_, barrier_, warp_, slots_;
};

// Takes the decisions for all heads, in the first CTA.
class ExactDecider {
 public:
  // `there`: where every CTA of a head has it.
  __device__ ExactDecider(const LiveScanLaunch& launch, ExactDeciderShared& shared,
                          ExactLink::Head& there)
      : p_(launch.scan),
        rules_(launch.rules),
        s_(shared),
        there_(there),
        heads_(p_.layout.shape.kv_heads) {}

  // By kMatchWarps warps, `thread` counts their threads.
  __device__ void run(int thread) {
    Matcher matcher(p_.bank, rules_, heads_, p_.first_position, s_.match, thread, kMatchBarrier);
    ScanPasses walk(p_, rules_);
    ExactPass pass, next;
    if (thread == 0) {
      s_.link.expect(0, heads_, true);
      s_.link.expect(1, heads_, true);
    }
    bool more = walk.next(pass);
    auto gates = Matcher::Gates::read(p_.gate + pass.row, more ? pass.tokens : 0, thread);
    if (thread == 0 && more && pass.snapshot >= 0) {
      s_.valid[0] = p_.snapshots[pass.snapshot].exact_valid;
    }
    for (int i = 0; more; ++i) {
      if (pass.opens()) matcher.open(pass, gates);
      more = walk.next(next);
      if (more && next.opens()) {
        gates = Matcher::Gates::read(p_.gate + next.row, next.tokens, thread);
      }
      if (thread == 0 && more && next.snapshot >= 0) {
        cp_async_ca<8>(shared_u32(&s_.valid[(i + 1) % 2]),
                       &p_.snapshots[next.snapshot].exact_valid);
      }
      cp_async_commit();
      matcher.add_heads(s_.link.wait_parts(i), ExactPart::kFloats);
      if (i > 0 && !pass.waits()) matcher.follow_writes();
      const int word = matcher.decide(pass);
      if (thread < 32) {
        if (thread == 0) s_.link.expect(i + 2, heads_, true);
        s_.link.broadcast(i, heads_, word, there_);
        if (pass.snapshot >= 0) {
          cp_async_wait<1>();
          __syncwarp();
          matcher.store(s_.valid[i % 2], nullptr);
        }
      }
      pass = next;
    }
    if (thread < 32) matcher.store(p_.bank.exact_valid, p_.bank.stamps);
  }

 private:
  using Matcher = ExactMatcher<kMatchWarps>;
  static constexpr int kMatchBarrier = 3;

  const LandmarkScanLaunch& p_;
  const LiveRules& rules_;
  ExactDeciderShared& s_;
  ExactLink::Head& there_;
  int heads_;
};

}  // namespace kvg::cuda
