#pragma once

#include "kernels/cuda/landmark/live_match.cuh"
#include "kernels/cuda/landmark/live_step_tokens.cuh"

#include <cstdint>

// The exact bank at a decode step, all heads by one CTA.
namespace kvg::cuda {

template <int kDim>
struct ExactStepShared {
  static constexpr int kValues = kLiveTile * kTokenStride<kDim>;
  alignas(16) __nv_bfloat16 values[kLiveHeads * kValues];
  float inverse[kLiveHeads * kLiveTile];
  ExactMatchShared match;
  alignas(16) float sums[ExactPart::kFloats];  // means over heads
  int words[2 * kLiveTile];
};

template <int kDim, bool kPlain>
class ExactStep {
 public:
  __device__ ExactStep(const LiveStepLaunch& launch, const RecentTokens& source,
                       ExactStepShared<kDim>& shared)
      : rules_(launch.rules),
        bank_(source.cache.landmark),
        source_(source),
        s_(shared),
        heads_(launch.step.layout.shape.kv_heads),
        slots_(launch.step.layout.shape.exact),
        warp_(static_cast<int>(threadIdx.x) / 32) {}

  __device__ void run(int tokens) {
    Matcher matcher(bank_, rules_, heads_, source_.first, s_.match, static_cast<int>(threadIdx.x),
                    kMatchBarrier);
    matcher.use_sums(s_.sums);
    ExactPasses passes(rules_, source_.first);
    passes.open({0, tokens, false, -1});
    if (threadIdx.x < 2 * kLiveTile) s_.words[threadIdx.x] = -1;
    for (bool first = true; !passes.done(); first = false) {
      const ExactPass pass = passes.next();
      if (first) {
        pin(pass);
        const int token = static_cast<int>(threadIdx.x);
        matcher.open(pass, {token < pass.tokens ? source_.gate(pass.row + token) : 0});
      }
      __syncthreads();
      load_values(pass);
      __syncthreads();
      add_cosines();
      __syncthreads();
      const int word = matcher.decide(pass);
      __syncthreads();  // the rows of this pass are known from the words before
      const int row = row_of(pass, lane_id() % kLiveTile);
      __syncthreads();
      if (warp_ == 0) s_.words[lane_id()] = word;
      __syncthreads();
      write(row);
    }
    if (warp_ == 0) matcher.store(bank_.exact_valid, bank_.stamps);
  }

 private:
  using Matcher = ExactMatcher<kStepWarps>;
  static_assert(Matcher::kEach == 1);
  static constexpr int kMatchBarrier = 1;

  __device__ __nv_bfloat16* slots(int head, bool value) const {
    uint8_t* codes = value ? bank_.exact.v_codes : bank_.exact.k_codes;
    return reinterpret_cast<__nv_bfloat16*>(codes) + int64_t{head} * slots_ * kDim;
  }
  // Row of the source of a token of the pass.
  __device__ int row_of(const ExactPass& pass, int i) const {
    const bool chosen = pass.kind == ExactPass::group;
    return pass.row + (chosen ? s_.words[kLiveTile + i] : pass.first + i);
  }

  __device__ void load_values(const ExactPass& pass) {
    for_each_vector<kDim, kPlain>(
        source_, true, heads_, pass.count, [&](int i) { return row_of(pass, i); },
        [&](int head, int i, const LaneBits<kDim>& bits) {
          store_row<kDim>(bits, s_.values + head * s_.kValues + i * kTokenStride<kDim>);
          const float inverse = inverse_norm(warp_sum(lane_squares<kDim>(bits)));
          if (lane_id() == 0) s_.inverse[head * kLiveTile + i] = inverse;
        });
  }

  // Means over heads, added up in the order of ExactMatcher::add_heads().
  __device__ void add_cosines() {
    const float share = 1.0f / static_cast<float>(heads_);
    for (int task = warp_; task < kSlotTasks + kTokenTasks; task += kStepWarps) {
      const int row = 8 * (task % kSlotTasks) + lane_id() / 4;
      float sums[4] = {};
#pragma unroll 1
      for (int head = 0; head < heads_; ++head) {
        const __nv_bfloat16* tokens = s_.values + head * s_.kValues;
        const __nv_bfloat16* values = slots(head, true) + row * kDim;
        if (task >= kSlotTasks) values = tokens + row * kTokenStride<kDim>;
        const bool there = task >= kSlotTasks || row < slots_;
        float c[4];
        exact_cosines<kDim>(tokens, s_.inverse + head * kLiveTile, there ? values : nullptr, c);
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i] = __fadd_rn(sums[i], c[i]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] *= share;
      store_cosines(task, sums, s_.sums);
    }
  }

  // Tokens of positions below `sinks`, each into the slot that is its own.
  __device__ void pin(const ExactPass& pass) {
    for (int task = warp_; task < 2 * heads_ * pass.pins; task += kStepWarps) {
      const int row = task / (2 * heads_);
      const int head = task / 2 % heads_;
      const bool value = task % 2 != 0;
      const auto slot = static_cast<int>(source_.position(row));
      store_row<kDim>(token_bits<kDim, kPlain>(source_, row, head, value),
                      slots(head, value) + slot * kDim);
    }
  }

  // `row`: of token lane_id() of the pass.
  __device__ void write(int row) {
    const int word = s_.words[lane_id()];
    unsigned written = __ballot_sync(kWarp, lane_id() < kLiveTile && word >= 0);
    for (; written != 0; written &= written - 1) {
      const int i = __ffs(static_cast<int>(written)) - 1;
      const int slot = __shfl_sync(kWarp, word, i);
      const int from = __shfl_sync(kWarp, row, i);
      for (int task = warp_; task < 2 * heads_; task += kStepWarps) {
        store_row<kDim>(token_bits<kDim, kPlain>(source_, from, task / 2, task % 2 != 0),
                        slots(task / 2, task % 2 != 0) + slot * kDim);
      }
    }
  }

  const LiveRules& rules_;
  const DeviceLandmarkBank& bank_;
  const RecentTokens& source_;
  ExactStepShared<kDim>& s_;
  int heads_, slots_, warp_;
};

}  // namespace kvg::cuda
