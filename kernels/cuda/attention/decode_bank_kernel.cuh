#pragma once

#include "kernels/cuda/attention/decode_bank.cuh"
#include "kernels/cuda/attention/decode_bank_finish.cuh"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/dependent_launch.h"

#include <cstdint>

// The kernel of decode.h for many sequences of short caches in bf16, with landmark banks or
// without: DecodeGrid::splits warps of one block share a KV head.
namespace kvg::cuda {

template <int kHeadDim_>
struct BankShared {
  static constexpr int kHeadDim = kHeadDim_;
  // So many KV heads of a warp are known at a time: the one that it reads and those of all steps
  // under way.
  static constexpr int kItems = kBankDepth;

  alignas(128) uint8_t ring[kBankWarps][kBankDepth][kBankStepBytes<kHeadDim>];
  BankSums<kHeadDim> sums[kBankWarps];
  BankItem items[kBankWarps][kItems];
};

// One warp of a team of `parts`, which takes every parts-th step of its KV heads.
template <int kHeadDim>
class BankWarp {
 public:
  using Shared = BankShared<kHeadDim>;

  __device__ BankWarp(const DecodeAttentionLaunch& p, Shared& shared)
      : p_(p),
        shared_(shared),
        warp_(static_cast<int>(threadIdx.x) / 32),
        lane_(static_cast<int>(threadIdx.x) % 32),
        parts_(p.grid.splits),
        part_(warp_ % parts_),
        total_(p.sequences * p.kv_heads),
        stride_(static_cast<int32_t>(gridDim.x) * (kBankWarps / parts_)),
        opened_(static_cast<int32_t>(blockIdx.x) * (kBankWarps / parts_) + warp_ / parts_ -
                stride_) {}

  __device__ void run() {
#pragma unroll
    for (int i = 0; i < kBankDepth; ++i) start(i);
    const int32_t first = opened_first();
    wait_for_previous_launch();
    int place = 0, slot = 0;
    for (int32_t index = first; index < total_; index += stride_) {
      const BankItem& item = shared_.items[warp_][slot];
      slot = slot + 1 == Shared::kItems ? 0 : slot + 1;
      QueryFragments<kHeadDim, 1> q;
      load_queries(index, q);
      if (lane_ == 0 && p_.gate != nullptr && part_ == 0 && index % p_.kv_heads == 0) {
        const int32_t sequence = index / p_.kv_heads;
        p_.caches[sequence].gates[item.position % p_.slots.window] = p_.gate[sequence];
      }
      Accumulator<kHeadDim, 1> sum;
      clear(sum);
      const int32_t steps = steps_of(item);
      BankBias bias = BankBias::load(item, item.step(part_), lane_);
#pragma unroll 1
      for (int32_t i = 0; i < steps; ++i) {
        const BankStep step = item.step(part_ + i * parts_);
        const BankBias next = BankBias::load(item, item.step(part_ + (i + 1) * parts_), lane_);
        cp_async_wait<kBankDepth - 1>();
        __syncwarp();
        const uint32_t at = shared_u32(shared_.ring[warp_][place]);
        if (step.group == BankGroup::recent && step.begin + step.count == item.recent &&
            step.count > 0) {
          store_newest<kHeadDim>(p_, item, step, at, lane_);
          __syncwarp();
        }
        attend_step<kHeadDim>(bias, p_.scale * kLog2E, at, q, lane_, sum);
        __syncwarp();
        start(place);
        if (i + 1 == steps) finish_item(index, sum);
        place = place + 1 == kBankDepth ? 0 : place + 1;
        bias = next;
      }
    }
    cp_async_wait<0>();
  }

 private:
  __device__ int32_t opened_first() const {
    return static_cast<int32_t>(blockIdx.x) * (kBankWarps / parts_) + warp_ / parts_;
  }
  __device__ int32_t steps_of(const BankItem& item) const {
    return max((item.steps() - part_ + parts_ - 1) / parts_, 1);
  }

  // The next step of all, if there is one, into a place of the ring.
  __device__ __forceinline__ void start(int place) {
    if (next_step_ == steps_ && opened_ < total_) {
      opened_ += stride_;
      next_step_ = steps_ = 0;
      if (opened_ < total_) {
        opened_slot_ = opened_slot_ + 1 == Shared::kItems ? 0 : opened_slot_ + 1;
        const BankItem item = load_item(p_, opened_);
        if (lane_ == 0) shared_.items[warp_][opened_slot_] = item;
        __syncwarp();
        steps_ = steps_of(item);
      }
    }
    if (next_step_ < steps_) {
      const BankItem& item = shared_.items[warp_][opened_slot_];
      copy_step<kHeadDim>(p_, item, item.step(part_ + next_step_ * parts_),
                          shared_u32(shared_.ring[warp_][place]), lane_);
      ++next_step_;
    }
    cp_async_commit();
  }

  // Lane 4 g + t has pairs of coordinates of query g, as second operands of mma.
  __device__ __forceinline__ void load_queries(int32_t index,
                                               QueryFragments<kHeadDim, 1>& q) const {
    const int group_heads = p_.heads / p_.kv_heads;
    const int query = lane_ / 4;
    const int head = p_.streams == 2 ? query / 2 : query;
    const int stream = p_.streams == 2 ? query % 2 : 0;
    const int32_t sequence = index / p_.kv_heads;
    const int32_t kv_head = index - sequence * p_.kv_heads;
    const int64_t row =
        (int64_t{sequence} * p_.streams + stream) * p_.heads + kv_head * group_heads + head;
    const auto* from = static_cast<const uint32_t*>(p_.q) + row * (kHeadDim / 2) + lane_ % 4;
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        q[k][0][half] = head < group_heads ? from[8 * k + 4 * half] : 0;
      }
    }
  }

  __device__ __forceinline__ void finish_item(int32_t index, Accumulator<kHeadDim, 1>& sum) {
    const BankTeam<kHeadDim> team{shared_.sums, warp_, part_, parts_};
    switch (parts_) {
      case 1:
        return finish_heads<kHeadDim, 1>(p_, index, team, lane_, sum);
      case 2:
        return finish_heads<kHeadDim, 2>(p_, index, team, lane_, sum);
      case 4:
        return finish_heads<kHeadDim, 4>(p_, index, team, lane_, sum);
      default:
        return finish_heads<kHeadDim, 8>(p_, index, team, lane_, sum);
    }
  }

  const DecodeAttentionLaunch& p_;
  Shared& shared_;
  int warp_, lane_, parts_, part_;
  int32_t total_, stride_;
  // What was started last: a KV head, its place among those that are known, its steps.
  int32_t opened_;
  int32_t opened_slot_ = Shared::kItems - 1;
  int32_t next_step_ = 0, steps_ = 0;
};

template <int kHeadDim>
__global__ void __launch_bounds__(32 * kBankWarps, 1)
    decode_bank_kernel(const __grid_constant__ DecodeAttentionLaunch p) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) uint8_t raw[];
  allow_next_launch();
  BankWarp<kHeadDim>(p, *reinterpret_cast<BankShared<kHeadDim>*>(raw)).run();
#endif
}

}  // namespace kvg::cuda
