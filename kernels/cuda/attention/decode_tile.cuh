#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/tile.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// The slots of one split on their way from memory to the tensor cores. Every warp is a pipeline of
// its own over 16 slots at a time, so that warps never wait for each other while they read.
namespace kvg::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kStepSlots = 16;  // of one warp; the warps' steps interleave

// K and V of 16 slots, without their scales.
template <int kHeadDim>
struct DecodeStage {
  __nv_bfloat16 k[kStepSlots * kHeadDim];
  __nv_bfloat16 v[kStepSlots * kHeadDim];
  float k_scales[kStepSlots];
  float v_scales[kStepSlots];
};

// Two blocks of 4 warps fit a multiprocessor of Hopper: 128 KB are under way.
template <int kHeadDim>
struct DecodeStages {
  static constexpr int kCount = kHeadDim == 128 ? 3 : 5;
  DecodeStage<kHeadDim> stage[kCount];
};

// bf16 as it is: vectors move from slots to tensor cores without being touched.
__device__ inline bool is_plain(const DeviceCodec& codec) {
  return codec.kind == CodecKind::bf16 && codec.band_index == nullptr;
}

// Slots [begin, end) of one group and KV head; the group's slot i is number (first + i) mod
// capacity of its store.
template <int kHeadDim>
struct SlotReader {
  const DeviceSlots* slots;
  int32_t kv_head;
  int32_t begin, end;
  int32_t first;
  const uint8_t* valid = nullptr;     // [of the group] 0: not readable
  const float* log_weight = nullptr;  // [of the group] added to the logits
  // The new token's rows stand in for slot end - 1, so that no plain codec waits until they are
  // stored; null when the token is not in this split.
  const __nv_bfloat16* newest_k = nullptr;
  const __nv_bfloat16* newest_v = nullptr;

  __device__ int32_t slot(int32_t index) const {
    const auto capacity = static_cast<int32_t>(slots->capacity);
    const int32_t at = first + index;
    return at < capacity ? at : at - capacity;
  }
  __device__ int32_t step_begin(int32_t step, int warp) const {
    return begin + (step * kDecodeWarps + warp) * kStepSlots;
  }
  __device__ int32_t steps(int warp) const {
    constexpr int kRound = kDecodeWarps * kStepSlots;
    const int32_t rest = end - begin - warp * kStepSlots;
    return rest > 0 ? (rest + kRound - 1) / kRound : 0;
  }

  // Starts (plain) or does (other codecs) the loads of one step; the caller commits and waits.
  __device__ void start(int32_t step, int warp, int lane, DecodeStage<kHeadDim>& stage) const {
    const int32_t from = step_begin(step, warp);
#pragma unroll 1
    for (int value = 0; value < 2; ++value) {
      const DeviceCodec& codec = value ? slots->v_codec : slots->k_codec;
      __nv_bfloat16* tile = value ? stage.v : stage.k;
      const int64_t before = kv_head * slots->capacity;
      const uint8_t* codes = (value ? slots->v_codes : slots->k_codes) + before * codec.code_bytes;
      if (is_plain(codec)) {
        copy_rows(codes, value ? newest_v : newest_k, from, lane, tile);
        continue;
      }
      const uint16_t* scales = value ? slots->v_scales : slots->k_scales;
      load_tile<kHeadDim>(codec, codes, scales != nullptr ? scales + before : nullptr,
                          slots->capacity, slot(from), min(end - from, kStepSlots), kStepSlots,
                          tile, value ? stage.v_scales : stage.k_scales, lane, 32);
    }
  }

  __device__ void copy_rows(const uint8_t* codes, const __nv_bfloat16* newest, int32_t from,
                            int lane, __nv_bfloat16* tile) const {
    constexpr int kChunks = kHeadDim / 8;
    constexpr int kRows = 32 / kChunks;  // of one access of the warp
    const int chunk = lane % kChunks;
#pragma unroll
    for (int i = 0; i < kStepSlots / kRows; ++i) {
      const int row = i * kRows + lane / kChunks;
      const int32_t index = from + row;
      const uint8_t* source = codes + int64_t{slot(min(index, end - 1))} * (2 * kHeadDim);
      if (newest != nullptr && index == end - 1) source = reinterpret_cast<const uint8_t*>(newest);
      cp_async_16(shared_address(tile + tile_chunk<kHeadDim>(row, chunk)), source + 16 * chunk,
                  index < end ? 16 : 0);
    }
  }

  // What is added to the logits of slots (lane / 4) and (lane / 4) + 8 of a step, in units of
  // log 2: -infinity where nothing may be read.
  __device__ void bias(int32_t step, int warp, int lane, float (&out)[2]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int32_t index = step_begin(step, warp) + lane / 4 + 8 * i;
      const bool readable = index < end && (valid == nullptr || valid[index] != 0);
      out[i] = readable ? 0.0f : -INFINITY;
      if (readable && log_weight != nullptr) out[i] = log_weight[index] * 1.44269504088896340736f;
    }
  }
};

// Transposes an 8 x 8 matrix of 16-bit elements that a warp holds as (lane / 4, 2 (lane % 4)) and
// its right neighbour in one register.
__device__ inline uint32_t movmatrix_trans(uint32_t rows) {
  uint32_t columns;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(columns) : "r"(rows));
  return columns;
}

// Neighbouring coordinates of a lane, in one access.
template <int kPerLane>
__device__ inline void load_lane(const float* from, float (&to)[kPerLane]) {
  if constexpr (kPerLane == 4) {
    const float4 x = __ldcg(reinterpret_cast<const float4*>(from));
    to[0] = x.x;
    to[1] = x.y;
    to[2] = x.z;
    to[3] = x.w;
  } else {
    static_assert(kPerLane == 2);
    const float2 x = __ldcg(reinterpret_cast<const float2*>(from));
    to[0] = x.x;
    to[1] = x.y;
  }
}

template <int kPerLane>
__device__ inline void store_lane(float* to, const float (&from)[kPerLane]) {
  if constexpr (kPerLane == 4) {
    *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
  } else {
    static_assert(kPerLane == 2);
    *reinterpret_cast<float2*>(to) = make_float2(from[0], from[1]);
  }
}

}  // namespace kvg::cuda
