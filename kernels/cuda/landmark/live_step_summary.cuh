#pragma once

#include "kernels/cuda/landmark/live_averages.cuh"
#include "kernels/cuda/landmark/live_step_tokens.cuh"

#include <cstdint>

// The summary bank at a decode step, all heads by one CTA.
namespace kvg::cuda {

template <int kDim>
struct SummaryStepShared {
  static constexpr int kKeys = kLiveTile * kTokenStride<kDim / 2>;
  static constexpr int kValues = kLiveTile * kTokenStride<kDim>;
  union {
    alignas(16) float parts[kLiveHeads * SummaryPart::kStride];
    alignas(16) __nv_bfloat16 values[kLiveHeads * kValues];  // after the decisions
  };
  alignas(16) __nv_bfloat16 keys[kLiveHeads * kKeys];
  int scores[kLiveTile * kScoreStride];
  float inverse[kLiveHeads * kLiveTile];
  float gate[kLiveTile];
  LiveRates rates;
  LiveMoves moves;
  uint64_t valid;
};

template <int kDim, bool kPlain>
class SummaryStep {
 public:
  static constexpr int kBand = kDim / 2;

  __device__ SummaryStep(const LiveStepLaunch& launch, const RecentTokens& source,
                         SummaryStepShared<kDim>& shared)
      : rules_(launch.rules),
        slow_dims_(launch.step.plan.slow_dims),
        bank_(source.cache.landmark),
        eta_(source.cache.eta),
        source_(source),
        s_(shared),
        heads_(launch.step.layout.shape.kv_heads),
        slots_(launch.step.layout.shape.summary),
        warp_(static_cast<int>(threadIdx.x) / 32) {}

  // Tokens [first, tokens) of the source.
  __device__ void run(int first, int tokens) {
    SummaryCounts counts(bank_, rules_, eta_, heads_);
    const uint64_t valid = counts.valid();
    SummaryRouter router(rules_, heads_, slots_, valid);
    if (threadIdx.x == 0) s_.valid = valid;
    for (int row = first; row < tokens; row += kLiveTile) {
      const int count = min(kLiveTile, tokens - row);
      load_keys(row, count);
      __syncthreads();
#pragma unroll 1
      for (int task = warp_; task < heads_ * (kSlotTasks + kTokenTasks); task += kStepWarps) {
        multiply(task / (kSlotTasks + kTokenTasks), task % (kSlotTasks + kTokenTasks));
      }
      __syncthreads();
      if (threadIdx.x < kArrangers) {
        const auto thread = static_cast<int>(threadIdx.x);
        arrange_tile(s_.parts, s_.valid, heads_, s_.scores, thread, kArrangeBarrier);
        if (thread < kRaters) {
          arrange_rates(s_.parts, rules_, eta_, heads_, s_.gate[thread / kLiveHeads], s_.rates,
                        thread);
        }
      }
      __syncthreads();
      if (warp_ == 0) {
        router.route(s_.parts, s_.scores, s_.rates, count, s_.moves, [](int) {});
        if (lane_id() == 0) s_.valid = router.valid();
      }
      __syncthreads();
      load_values(row, count);
      __syncthreads();
      if (warp_ == 0)
        counts.take(s_.moves.decision[lane_id() % kLiveTile], s_.gate[lane_id() % kLiveTile],
                    count);
#pragma unroll 1
      for (int head = warp_; head < heads_; head += kStepWarps) {
        move_averages<kDim>({s_.keys + head * s_.kKeys, s_.values + head * s_.kValues, s_.gate},
                            s_.moves.decision, eta_[head], rules_.gated_rate, keys(head),
                            values(head));
      }
      __syncthreads();
    }
    if (warp_ == 0) counts.store(bank_);
  }

 private:
  static_assert(kArrangers <= kStepThreads);
  static constexpr int kArrangeBarrier = 1;

  __device__ StoredAverages keys(int head) const {
    return {bank_.summary.k_codes + int64_t{head} * slots_ * (4 * kBand)};
  }
  __device__ StoredAverages values(int head) const {
    return {bank_.summary.v_codes + int64_t{head} * slots_ * (4 * kDim)};
  }

  __device__ void multiply(int head, int task) {
    const __nv_bfloat16* tokens = s_.keys + head * s_.kKeys;
    const float* inverse = s_.inverse + head * kLiveTile;
    float* part = s_.parts + head * SummaryPart::kStride;
    if (task < kSlotTasks) {
      slot_products<kBand>(task, tokens, inverse, keys(head), slots_, part);
    } else {
      token_products<kBand>(task - kSlotTasks, tokens, inverse, part);
    }
  }

  __device__ void load_keys(int first, int count) {
    const LaneBand<kDim> band(slow_dims_, kBand);
    if (warp_ == 0 && lane_id() < kLiveTile) {
      s_.gate[lane_id()] = lane_id() < count ? source_.gate(first + lane_id()) : -INFINITY;
    }
    for_each_vector<kDim, kPlain>(
        source_, false, heads_, count, [=](int i) { return first + i; },
        [&](int head, int i, const LaneBits<kDim>& bits) {
          const float inverse =
              store_key<kDim>(bits, band, s_.keys + head * s_.kKeys + i * kTokenStride<kBand>);
          if (lane_id() == 0) s_.inverse[head * kLiveTile + i] = inverse;
        });
  }
  __device__ void load_values(int first, int count) {
    for_each_vector<kDim, kPlain>(
        source_, true, heads_, count, [=](int i) { return first + i; },
        [&](int head, int i, const LaneBits<kDim>& bits) {
          store_row<kDim>(bits, s_.values + head * s_.kValues + i * kTokenStride<kDim>);
        });
  }
  const LiveRules& rules_;
  const int32_t* slow_dims_;
  const DeviceLandmarkBank& bank_;
  const float* eta_;
  const RecentTokens& source_;
  SummaryStepShared<kDim>& s_;
  int heads_, slots_, warp_;
};

}  // namespace kvg::cuda
