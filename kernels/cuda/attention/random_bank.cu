#include "base/random.h"
#include "kernels/cuda/attention/random_bank.h"
#include "kernels/cuda/codec/warp.cuh"

namespace kvg::cuda {

namespace {

constexpr uint64_t kPurpose = name_seed("random policy");

// random_bank_slot (kernels/decode.h): the same draws.
__device__ int64_t bank_slot(uint64_t seed, int32_t layer, int64_t position, int64_t capacity) {
  if (position < capacity) return position;
  Random random(
      mix_seed({seed, kPurpose, static_cast<uint64_t>(layer), static_cast<uint64_t>(position)}));
  return static_cast<int64_t>(random.below(static_cast<uint64_t>(position) + 1));
}

__device__ bool same_spec(const DeviceCodec& a, const DeviceCodec& b) {
  return a.kind == b.kind && a.bits == b.bits && a.scale == b.scale && a.fp8_scale == b.fp8_scale &&
         a.rotation == b.rotation && a.seed == b.seed;
}

// K or V of one KV head.
struct Vectors {
  const DeviceCodec* codec;
  uint8_t* codes;
  uint16_t* scales;

  __device__ Vectors(const DeviceSlots& slots, int32_t kv_head, bool value)
      : codec(value ? &slots.v_codec : &slots.k_codec),
        codes((value ? slots.v_codes : slots.k_codes) +
              kv_head * slots.capacity * codec->code_bytes),
        scales(value ? slots.v_scales : slots.k_scales) {
    if (scales != nullptr) scales += kv_head * slots.capacity;
  }
  __device__ uint8_t* code(int64_t slot) const { return codes + slot * codec->code_bytes; }
  __device__ uint16_t* scale(int64_t slot) const {
    return scales != nullptr ? scales + slot : nullptr;
  }
};

__device__ void copy_vector(const Vectors& from, int64_t from_slot, const Vectors& to,
                            int64_t to_slot) {
  const auto* source = reinterpret_cast<const uint32_t*>(from.code(from_slot));
  auto* target = reinterpret_cast<uint32_t*>(to.code(to_slot));
  for (int i = lane_id(); i < from.codec->code_bytes / 4; i += 32) target[i] = source[i];
  if (to.scales != nullptr && lane_id() == 0) *to.scale(to_slot) = *from.scale(from_slot);
}

template <int kHeadDim>
__global__ void __launch_bounds__(64)
    random_evict_kernel(const __grid_constant__ RandomEvictLaunch p) {
  const auto kv_head = static_cast<int32_t>(blockIdx.x);
  const auto sequence = static_cast<int64_t>(blockIdx.y);
  const auto layer = static_cast<int32_t>(blockIdx.z);
  const bool value = threadIdx.x >= 32;
  const int64_t position = p.positions[sequence];
  const int64_t begin = p.plan.evict_begin(position);
  const int64_t end = p.plan.first_recent(position);
  if (begin >= end) return;
  const DeviceDecodeCache& cache = p.caches[layer * p.plan.sequences + sequence];
  const bool copies = same_spec(cache.recent.k_codec, cache.random.k_codec);
  const Vectors from(cache.recent, kv_head, value);
  const Vectors to(cache.random, kv_head, value);
  for (int64_t batch = begin; batch < end; batch += 32) {
    const auto tokens = static_cast<int>(end - batch < 32 ? end - batch : 32);
    // A lane draws for one token; then the warp moves them.
    const int64_t drawn = bank_slot(p.plan.seed, layer, batch + lane_id(), cache.random.capacity);
    const WarpRotation<kHeadDim> from_rotation(*from.codec, layer, kv_head, value);
    const WarpRotation<kHeadDim> to_rotation(*to.codec, layer, kv_head, value);
    for (int i = 0; i < tokens; ++i) {
      const int64_t slot = __shfl_sync(kWarp, drawn, i);
      if (slot >= cache.random.capacity) continue;
      const int64_t source = (batch + i - p.plan.sinks) % cache.recent.capacity;
      if (copies) {
        copy_vector(from, source, to, slot);
        continue;
      }
      float x[kLaneWidth<kHeadDim>];
      warp_decode<kHeadDim>(*from.codec, from.code(source), from.scale(source), x);
      from_rotation.apply_transposed(x);
      // Rows between the codecs are bf16, as in the composed step.
#pragma unroll
      for (float& element : x) element = __bfloat162float(__float2bfloat16_rn(element));
      warp_encode<kHeadDim>(*to.codec, to_rotation, x, to.code(slot), to.scale(slot));
    }
  }
}

}  // namespace

cudaError_t launch(const RandomEvictLaunch& p, cudaStream_t stream) {
  const dim3 blocks(static_cast<unsigned>(p.plan.kv_heads), static_cast<unsigned>(p.plan.sequences),
                    static_cast<unsigned>(p.plan.layers));
  if (p.plan.head_dim == 64) {
    random_evict_kernel<64><<<blocks, 64, 0, stream>>>(p);
  } else if (p.plan.head_dim == 128) {
    random_evict_kernel<128><<<blocks, 64, 0, stream>>>(p);
  } else {
    return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

}  // namespace kvg::cuda
