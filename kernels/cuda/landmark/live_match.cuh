#pragma once

#include "kernels/cuda/landmark/live_passes.cuh"
#include "kernels/cuda/landmark/live_products.cuh"
#include "kernels/cuda/landmark/live_ptx.cuh"
#include "kernels/cuda/landmark/live_route.cuh"

#include <cstdint>

// Which tokens of an eviction the exact bank takes, and where.
namespace kvg::cuda {

struct ExactMatchShared {
  alignas(16) float gate[kLiveBlock];
  alignas(16) float match[kLiveBlock];  // similarity with the most similar slot
  int16_t order[kLiveBlock];            // room is short
  int32_t targets[kLiveTile];           // of the last pass
  uint64_t valid;
};

// Takes the decisions of one pass after the other. kWarps warps, `thread` counts their threads; the
// first of them knows validity and stamps, slots l and l + 32 by lane l.
template <int kWarps>
class ExactMatcher {
 public:
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kEach = kLiveBlock / kThreads;  // tokens of an eviction, of a thread
  // Gates of tokens thread, thread + kThreads, ... of an eviction.
  struct Gates {
    float at[kEach];
    __device__ static Gates read(const float* gate, int tokens, int thread) {
      Gates gates;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int token = thread + i * kThreads;
        gates.at[i] = token < tokens ? gate[token] : 0;
      }
      return gates;
    }
  };

  __device__ ExactMatcher(const DeviceLandmarkBank& bank, const LiveRules& rules, int kv_heads,
                          int64_t first_position, ExactMatchShared& shared, int thread, int barrier)
      : rules_(rules),
        s_(shared),
        slots_(static_cast<int>(bank.exact.capacity)),
        kv_heads_(kv_heads),
        thread_(thread),
        barrier_(barrier),
        first_position_(static_cast<int>(first_position)) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slot = lane_id() + 32 * i;
      const bool there = slot < slots_;
      valid_[i] = there && bank.exact_valid[slot] != 0;
      stamp_[i] = there ? static_cast<int>(bank.stamps[slot]) : 0;
    }
  }

  // Before the first pass of an eviction.
  __device__ void open(const ExactPass& pass, const Gates& gates) {
    sync();
#pragma unroll
    for (int i = 0; i < kEach; ++i) s_.gate[thread_ + i * kThreads] = gates.at[i];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int position = lane_id() + 32 * i;
      const int pin = position - first_position_ - pass.pin_row;
      if (pin < 0 || pin >= pass.pins) continue;
      valid_[i] = true;
      stamp_[i] = position;
    }
  }

  // Means over heads of the pass, an ExactPart.
  __device__ void use_sums(float* sums) { sums_ = sums; }
  // The same from parts [kv_heads, ExactPart], `stride` apart, in the place of the first.
  __device__ void add_heads(float* parts, int stride) {
    use_sums(parts);
    const float share = 1.0f / static_cast<float>(kv_heads_);
    for (int i = thread_; i < ExactPart::kFloats / 4; i += kThreads) {
      float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int head = 0; head < kLiveHeads; ++head) {
        if (head >= kv_heads_) continue;
        const float4 part = reinterpret_cast<const float4*>(parts + head * stride)[i];
        sum.x += part.x;
        sum.y += part.y;
        sum.z += part.z;
        sum.w += part.w;
      }
      reinterpret_cast<float4*>(sums_)[i] =
          make_float4(sum.x * share, sum.y * share, sum.z * share, sum.w * share);
    }
  }

  // What the writes of the pass before do to sums that were taken before them.
  __device__ void follow_writes() {
    sync();
    const int row = thread_ % kLiveTile;
#pragma unroll
    for (int place = thread_ / kLiveTile; place < kLiveTile; place += kThreads / kLiveTile) {
      const int slot = s_.targets[place];
      if (slot < 0) continue;
      sums_[ExactPart::kSlots + row * ExactPart::kRow + slot] =
          sums_[ExactPart::kBefore + place * kLiveTile + row];
    }
  }

  // With the sums of the pass. Returns, in the first warp, 32 words: of each token of the pass the
  // slot it is written to, or -1; and of the next pass, if it is of candidates, which tokens of the
  // eviction they are.
  __device__ int decide(const ExactPass& pass) {
    if (thread_ < 32) publish_valid();
    sync();
    if (pass.kind != ExactPass::group) {
      match_rows(pass);
      sync();
      if (pass.first + pass.count >= pass.tokens) put_in_order(pass.tokens);
    }
    if (thread_ >= 32) return -1;
    const int word = pass.kind == ExactPass::match ? -1 : choose(pass);
    if (lane_id() < kLiveTile) s_.targets[lane_id()] = word;
    const int next = pass.kind == ExactPass::group ? pass.first + kLiveTile : 0;
    const int candidate = next + lane_id() - kLiveTile;
    if (lane_id() < kLiveTile) return word;
    return candidate < pass.candidates ? s_.order[candidate] : -1;
  }

  // By the first warp; a snapshot has no stamps (null).
  __device__ void store(uint8_t* valid, int64_t* stamps) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slot = lane_id() + 32 * i;
      if (slot >= slots_) continue;
      valid[slot] = valid_[i] ? 1 : 0;
      if (stamps != nullptr) stamps[slot] = stamp_[i];
    }
  }

 private:
  __device__ void sync() const { bar_sync(barrier_, kThreads); }

  __device__ void publish_valid() {
    const uint64_t low = __ballot_sync(kWarp, valid_[0]);
    const uint64_t high = __ballot_sync(kWarp, valid_[1]);
    if (lane_id() == 0) s_.valid = low | high << 32;
  }

  __device__ void match_rows(const ExactPass& pass) {
    const bool low = (s_.valid >> lane_id() & 1u) != 0;
    const bool high = (s_.valid >> (lane_id() + 32) & 1u) != 0;
    for (int row = thread_ / 32; row < pass.count; row += kWarps) {
      const float* at = sums_ + ExactPart::kSlots + row * ExactPart::kRow + lane_id();
      const LiveBest best =
          warp_best_of(ordered(low ? at[0] : -INFINITY), ordered(high ? at[32] : -INFINITY));
      if (lane_id() == 0) s_.match[pass.first + row] = rules_.novelty ? best.score() : 0;
    }
  }

  // order[rank] = token: gate descending, then match ascending, then as they came. Few are put in
  // order by the first warp alone.
  __device__ void put_in_order(int tokens) {
    const bool few = tokens <= 32;
    if (few && thread_ >= 32) return;
      // Stays where gates are NaN and ranks make no sense.
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      s_.order[thread_ + i * kThreads] = static_cast<int16_t>(thread_ + i * kThreads);
    few ? __syncwarp() : sync();
#pragma unroll 1
    for (int token = thread_; token < tokens; token += kThreads) {
      s_.order[rank(token, tokens)] = static_cast<int16_t>(token);
    }
    few ? __syncwarp() : sync();
  }
  __device__ int rank(int token, int tokens) const {
    const float gate = s_.gate[token];
    const float match = s_.match[token];
    int rank = 0;
    for (int first = 0; first < tokens; first += 4) {
      const float4 gates = *reinterpret_cast<const float4*>(s_.gate + first);
      const float4 matches = *reinterpret_cast<const float4*>(s_.match + first);
      const float other_gates[4] = {gates.x, gates.y, gates.z, gates.w};
      const float others[4] = {matches.x, matches.y, matches.z, matches.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int j = first + k;
        const bool earlier = others[k] == match ? j < token : others[k] < match;
        const bool before = other_gates[k] > gate || (other_gates[k] == gate && earlier);
        rank += j < tokens && before ? 1 : 0;
      }
    }
    return rank;
  }

  // The exact slot that is given up next, never a sink's; -1: none.
  __device__ int victim() const {
    int age[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slot = lane_id() + 32 * i;
      const bool eligible = slot >= rules_.sinks && slot < slots_;
      age[i] = !eligible ? INT32_MAX : valid_[i] ? stamp_[i] : -1;
    }
    const int least = -warp_max_int(-min(age[0], age[1]));
    const unsigned low = __ballot_sync(kWarp, age[0] == least);
    const unsigned high = __ballot_sync(kWarp, age[1] == least);
    if (least == INT32_MAX) return -1;
    return low != 0 ? __ffs(static_cast<int>(low)) - 1 : __ffs(static_cast<int>(high)) + 31;
  }

  // By the first warp: the target of token lane_id() of the pass.
  __device__ int choose(const ExactPass& pass) {
    const bool group = pass.kind == ExactPass::group;
    const int candidates = group ? pass.count : pass.candidates;
    const int mine = lane_id() < candidates ? s_.order[pass.first + lane_id()] : 0;
    const float gate = s_.gate[mine];
    int target = -1;
    unsigned offered = __ballot_sync(kWarp, lane_id() < candidates && gate >= rules_.tau_gate);
#pragma unroll 1
    for (; offered != 0; offered &= offered - 1) {
      const int c = __ffs(static_cast<int>(offered)) - 1;
      const int token = __shfl_sync(kWarp, mine, c);
      const int place = group ? c : token;
      const float* row = sums_ + ExactPart::kSlots + place * ExactPart::kRow + lane_id();
      const float scores[2] = {row[0], row[32]};
      const int oldest = victim();
      const LiveBest best = warp_best_of(ordered(valid_[0] ? scores[0] : -INFINITY),
                                         ordered(valid_[1] ? scores[1] : -INFINITY));
      const bool any = __any_sync(kWarp, valid_[0] || valid_[1]);
      const bool novel = !any || best.score() < rules_.tau_novel;
      const int slot = novel ? oldest : best.slot;
      if (slot < 0) continue;
      const int position = first_position_ + pass.row + token;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (slot != lane_id() + 32 * i) continue;
        stamp_[i] = novel ? position : max(stamp_[i], position);
        valid_[i] = true;
      }
      if (!novel) continue;
      // A token that was written there before is gone; the slot is now like this one.
      target = target == slot ? -1 : target;
      target = lane_id() == place ? slot : target;
      __syncwarp();  // all have read
      if (lane_id() < kLiveTile) {
        sums_[ExactPart::kSlots + lane_id() * ExactPart::kRow + slot] =
            sums_[ExactPart::kTokens + place * kLiveTile + lane_id()];
      }
      __syncwarp();
    }
    return target;
  }

  LiveRules rules_;
  ExactMatchShared& s_;
  float* sums_ = nullptr;
  int slots_, kv_heads_, thread_, barrier_, first_position_;
  bool valid_[2];
  int stamp_[2];
};

}  // namespace kvg::cuda
