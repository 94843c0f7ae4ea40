#include "kernels/cuda/codec/slots.h"
#include "kernels/cuda/codec/warp.cuh"

#include <algorithm>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
// Blocks of one site beyond these take several rows a warp: its rotation is drawn once.
constexpr int64_t kMaxBlocks = 64;

// The slots of K or V of one head.
struct HeadSlots {
  const DeviceCodec& codec;
  uint8_t* codes;
  uint16_t* scales;
};

__device__ HeadSlots head_slots(const DeviceSlots& slots, int64_t head, bool value) {
  const DeviceCodec& codec = value ? slots.v_codec : slots.k_codec;
  const int64_t before = head * slots.capacity;
  uint8_t* codes = (value ? slots.v_codes : slots.k_codes) + before * codec.code_bytes;
  uint16_t* scales = value ? slots.v_scales : slots.k_scales;
  return {codec, codes, codec.scaled ? scales + before : nullptr};
}

// first and offset are at most the capacity.
__device__ int64_t wrapped(int64_t first, int64_t offset, int64_t capacity) {
  const int64_t slot = first + offset;
  return slot < capacity ? slot : slot - capacity;
}

// blockIdx.y = 2 * head + (1 for V). Without the promise of four blocks, ptxas aims at 32 registers
// and spills.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 4) store_kernel(const StoreLaunch p) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  const auto head = static_cast<int>(blockIdx.y / 2);
  const bool value = blockIdx.y % 2;
  const HeadSlots slots = head_slots(p.slots, head, value);
  const WarpRotation<kHeadDim> rotation(slots.codec, p.layer, head, value);
  const auto* rows = static_cast<const uint8_t*>(value ? p.v : p.k);
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; row < p.rows;
       row += int64_t{gridDim.x} * kWarps) {
    const auto in = *lane_words<uint16_t, kWidth>(rows + (row * p.kv_heads + head) * 2 * kHeadDim);
    float x[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      x[i] = __uint_as_float(static_cast<uint32_t>(in.word[i]) << 16);
    }
    const int64_t slot = wrapped(p.first_slot, row, p.slots.capacity);
    warp_encode<kHeadDim>(slots.codec, rotation, x, slots.codes + slot * slots.codec.code_bytes,
                          slots.scales + slot);
  }
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 4) load_kernel(const LoadLaunch p) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  const auto head = static_cast<int>(blockIdx.y / 2);
  const bool value = blockIdx.y % 2;
  const HeadSlots slots = head_slots(p.slots, head, value);
  const WarpRotation<kHeadDim> rotation(slots.codec, p.layer, head, value);
  auto* rows = static_cast<uint8_t*>(value ? p.v : p.k);
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; row < p.rows;
       row += int64_t{gridDim.x} * kWarps) {
    const int64_t slot = wrapped(p.first_slot, row, p.slots.capacity);
    float x[kWidth];
    warp_decode<kHeadDim>(slots.codec, slots.codes + slot * slots.codec.code_bytes,
                          slots.scales + slot, x);
    rotation.apply_transposed(x);
    LaneWords<uint16_t, kWidth> out;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      out.word[i] = __bfloat16_as_ushort(__float2bfloat16_rn(x[i]));
    }
    *lane_words<uint16_t, kWidth>(rows + (row * p.kv_heads + head) * 2 * kHeadDim) = out;
  }
}

// bf16 rows and bf16 slots: 16 bytes a thread.
template <int kHeadDim, bool kStore, typename Launch>
__global__ void __launch_bounds__(kThreads) move_kernel(const Launch p) {
  constexpr int kChunks = kHeadDim / 8;
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= p.rows * kChunks) return;
  const int64_t row = index / kChunks;
  const int64_t chunk = index % kChunks;
  const int64_t head = blockIdx.y / 2;
  const bool value = blockIdx.y % 2;
  const int64_t slot = wrapped(p.first_slot, row, p.slots.capacity);
  auto* slots = reinterpret_cast<uint4*>(head_slots(p.slots, head, value).codes);
  uint4* in_slot = slots + slot * kChunks + chunk;
  const int64_t in_rows = (row * p.kv_heads + head) * kChunks + chunk;
  if constexpr (kStore) {
    *in_slot = static_cast<const uint4*>(value ? p.v : p.k)[in_rows];
  } else {
    static_cast<uint4*>(value ? p.v : p.k)[in_rows] = *in_slot;
  }
}

bool plain_bf16(const DeviceCodec& codec) {
  return codec.kind == CodecKind::bf16 && codec.band == nullptr;
}

bool valid(const DeviceSlots& slots, int64_t first_slot, int64_t count, int32_t kv_heads) {
  return count >= 0 && count <= slots.capacity && first_slot >= 0 &&
         (first_slot < slots.capacity || count == 0) && kv_heads > 0 && kv_heads <= 32767 &&
         slots.k_codec.head_dim == slots.v_codec.head_dim &&
         (slots.k_codec.head_dim == 64 || slots.k_codec.head_dim == 128);
}

dim3 grid(int64_t blocks, int64_t sites) {
  return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(sites));
}

template <int kHeadDim>
cudaError_t launch_for(const StoreLaunch& p, cudaStream_t stream) {
  if (plain_bf16(p.slots.k_codec) && plain_bf16(p.slots.v_codec)) {
    const int64_t blocks = (p.rows * kHeadDim / 8 + kThreads - 1) / kThreads;
    move_kernel<kHeadDim, true><<<grid(blocks, 2 * p.kv_heads), kThreads, 0, stream>>>(p);
  } else {
    const int64_t blocks = std::min((p.rows + kWarps - 1) / kWarps, kMaxBlocks);
    store_kernel<kHeadDim><<<grid(blocks, 2 * p.kv_heads), kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

template <int kHeadDim>
cudaError_t launch_for(const LoadLaunch& p, cudaStream_t stream) {
  if (plain_bf16(p.slots.k_codec) && plain_bf16(p.slots.v_codec)) {
    const int64_t blocks = (p.rows * kHeadDim / 8 + kThreads - 1) / kThreads;
    move_kernel<kHeadDim, false><<<grid(blocks, 2 * p.kv_heads), kThreads, 0, stream>>>(p);
  } else {
    const int64_t blocks = std::min((p.rows + kWarps - 1) / kWarps, kMaxBlocks);
    load_kernel<kHeadDim><<<grid(blocks, 2 * p.kv_heads), kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

template <typename Launch>
cudaError_t launch_checked(const Launch& p, cudaStream_t stream) {
  if (p.rows == 0) return cudaSuccess;
  if (!valid(p.slots, p.first_slot, p.rows, p.kv_heads)) return cudaErrorInvalidValue;
  return p.slots.k_codec.head_dim == 64 ? launch_for<64>(p, stream) : launch_for<128>(p, stream);
}

// `width` bytes a slot, as words of one type. Slots of a head lie together.
template <typename Word>
__device__ void copy_words(const CopySlotsLaunch& p, int64_t head, int64_t width, const void* from,
                           void* to) {
  const auto words = static_cast<int64_t>(width / sizeof(Word));
  const auto* source = static_cast<const Word*>(from) + head * p.from.capacity * words;
  auto* target = static_cast<Word*>(to) + head * p.to.capacity * words;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < p.count * words;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / words;
    const int64_t word = i % words;
    target[wrapped(p.to_slot, row, p.to.capacity) * words + word] =
        source[wrapped(p.from_slot, row, p.from.capacity) * words + word];
  }
}

// blockIdx.y = 4 * head + (K codes, V codes, K scales, V scales).
__global__ void __launch_bounds__(kThreads) copy_kernel(const CopySlotsLaunch p) {
  const int64_t head = blockIdx.y / 4;
  const bool value = blockIdx.y % 2;
  const DeviceCodec& codec = value ? p.from.v_codec : p.from.k_codec;
  if (blockIdx.y % 4 >= 2) {
    if (!codec.scaled) return;
    return copy_words<uint16_t>(p, head, 2, value ? p.from.v_scales : p.from.k_scales,
                                value ? p.to.v_scales : p.to.k_scales);
  }
  const uint8_t* from = value ? p.from.v_codes : p.from.k_codes;
  uint8_t* to = value ? p.to.v_codes : p.to.k_codes;
  const int64_t width = codec.code_bytes;
  if (width % 16 == 0) return copy_words<uint4>(p, head, width, from, to);
  if (width % 8 == 0) return copy_words<uint2>(p, head, width, from, to);
  copy_words<uint16_t>(p, head, width, from, to);
}

}  // namespace

cudaError_t launch(const StoreLaunch& p, cudaStream_t stream) { return launch_checked(p, stream); }
cudaError_t launch(const LoadLaunch& p, cudaStream_t stream) { return launch_checked(p, stream); }

cudaError_t launch(const CopySlotsLaunch& p, cudaStream_t stream) {
  if (p.count == 0) return cudaSuccess;
  if (!valid(p.from, p.from_slot, p.count, p.kv_heads) ||
      !valid(p.to, p.to_slot, p.count, p.kv_heads) || p.kv_heads > 16383) {
    return cudaErrorInvalidValue;
  }
  const int64_t words = p.count * p.from.k_codec.code_bytes / 16;
  const int64_t blocks = std::clamp<int64_t>(words / kThreads, 1, kMaxBlocks);
  copy_kernel<<<grid(blocks, 4 * p.kv_heads), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace kvg::cuda
