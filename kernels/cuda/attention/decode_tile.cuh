#pragma once

#include "kernels/cuda/attention/codec_sets.cuh"
#include "kernels/cuda/attention/decode_codes.cuh"
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/tile.cuh"

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// The slots of one split on their way from memory to the tensor cores. Every warp is a pipeline of
// its own over 16 slots at a time, so that warps never wait for each other while they read.
//
// Slots travel as stored bytes, by cp.async into a ring in shared memory. Plain bf16 is what tensor
// cores read, and so are the upper words of f32, which are all that attention takes of it; dense
// codes become their operands in registers (decode_codes.cuh); other vectors, of which there are
// few, are decoded from the ring into a tile beside it.
namespace kvg::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kStepSlots = 16;  // of one warp; the warps' steps interleave

// Shared memory of a warp: two (head_dim 128) or four (64) steps of plain slots. With it, three
// blocks of 4 warps fit a multiprocessor of Hopper, and 192 KB are under way.
inline constexpr int kWarpBytes = 16384;
template <int kHeadDim>
inline constexpr int kTileBytes = kStepSlots* kHeadDim * 2;

// A vector begins with all of it in bf16, which moves to tensor cores without being touched.
__device__ inline bool is_plain(const DeviceCodec& codec) {
  return (codec.kind == CodecKind::bf16 || codec.kind == CodecKind::f32) &&
         codec.band_index == nullptr;
}

// How tensor cores get at the vectors of a step.
enum class SlotForm : uint8_t { plain, tile, eden1, eden2, eden3, eden4, fp8, int8 };

__device__ inline SlotForm slot_form(const DeviceCodec& codec) {
  if (is_plain(codec)) return SlotForm::plain;
  if (codec.code_bytes % 16 != 0 || codec.band_index != nullptr) return SlotForm::tile;
  if (codec.kind == CodecKind::fp8) return SlotForm::fp8;
  if (codec.kind == CodecKind::int8) return SlotForm::int8;
  if (codec.kind != CodecKind::eden) return SlotForm::tile;
  return static_cast<SlotForm>(static_cast<int>(SlotForm::eden1) + codec.bits - 1);
}

// Vectors in registers are spread over lanes in another order than those of tiles.
__device__ inline bool is_tile(SlotForm form) {
  return form == SlotForm::plain || form == SlotForm::tile;
}

// What a step of 16 slots takes in the ring. Vectors that are no multiple of 16 bytes do not come
// through it but are decoded from where they are.
__device__ inline int32_t ring_bytes(const DeviceCodec& codec) {
  if (is_plain(codec)) return kStepSlots * codec.head_dim * 2;
  return codec.code_bytes % 16 == 0 ? kStepSlots * codec.code_bytes : 0;
}

// `bytes` stored bytes by a warp, 16 at a time, of the ring of `period` bytes at `codes` from byte
// `first` (< period) on; those from `valid` on arrive as zeros.
__device__ inline void copy_bytes(uint32_t to, const uint8_t* codes, int64_t first, int64_t period,
                                  int32_t bytes, int32_t valid, int lane) {
  const uint8_t* from = codes + first;
  const int64_t wrap = period - first;
  if (valid >= bytes && wrap >= bytes) {
#pragma unroll 4
    for (int32_t at = 16 * lane; at < bytes; at += 16 * 32) {
      cp_async_16(to + static_cast<uint32_t>(at), from + at);
    }
    return;
  }
  for (int32_t at = 16 * lane; at < bytes; at += 16 * 32) {
    const bool inside = at < valid;
    const uint8_t* source = at < wrap ? from + at : from + at - period;
    cp_async_16(to + static_cast<uint32_t>(at), inside ? source : codes, inside ? 16 : 0);
  }
}

// K and V of one step in shared memory: tiles, or stored codes.
struct DecodeVectors {
  uint32_t k, v;
};

// 16 stored vectors of a band codec, bf16 or the upper words of f32, as a tile. It may take the
// place of vectors that are at least as long: those are read before they are overwritten.
template <int kHeadDim>
__device__ inline void decode_band(uint32_t stored, int32_t code_bytes, const int16_t* band,
                                   int lane, __nv_bfloat16* tile) {
  constexpr int kChunks = kHeadDim / 8;
  constexpr int kRows = 32 / kChunks;  // at once
  const uint4 of_chunk = reinterpret_cast<const uint4*>(band)[lane % kChunks];
  const uint32_t places[4] = {of_chunk.x, of_chunk.y, of_chunk.z, of_chunk.w};
  const int first = static_cast<int16_t>(places[0]);
  // Places ascend, so the six between these two are stored as well.
  const bool together = first % 8 == 0 && static_cast<int>(places[3] >> 16) == first + 7;
  const bool none = (places[0] & places[1] & places[2] & places[3]) == 0xffffffffu;
#pragma unroll 1
  for (int row = lane / kChunks; row < kStepSlots; row += kRows) {
    const uint32_t from = stored + static_cast<uint32_t>(row * code_bytes);
    uint32_t pairs[4] = {};
    if (together) {
      load_shared<16>(from + static_cast<uint32_t>(2 * first), pairs);
    } else if (!none) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int place = static_cast<int16_t>(places[j / 2] >> (16 * (j % 2)));
        if (place < 0) continue;
        uint32_t word[1];
        load_shared<2>(from + static_cast<uint32_t>(2 * place), word);
        pairs[j / 2] |= word[0] << (16 * (j % 2));
      }
    }
    __syncwarp();
    store_chunk<kHeadDim>(tile, row, lane % kChunks,
                          make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
  }
}

// Vectors of `form` tile that have arrived at `stored`, or, where they do not come through the
// ring, those of `rows` slots from `first` on, as a tile.
template <int kHeadDim, typename Codecs>
__device__ inline void decode_vectors(const DeviceSlots& slots, bool value, int32_t kv_head,
                                      uint32_t stored, const int16_t* band, int32_t first,
                                      int32_t rows, int lane, void* to) {
  const auto& codec = Codecs::of(value ? slots.v_codec : slots.k_codec);
  auto* tile = static_cast<__nv_bfloat16*>(to);
  const bool in_ring = ring_bytes(codec) > 0;
  if (in_ring && codec.band_index != nullptr && band != nullptr) {
    return decode_band<kHeadDim>(stored, codec.code_bytes, band, lane, tile);
  }
  const uint8_t* codes =
      (value ? slots.v_codes : slots.k_codes) + kv_head * slots.capacity * codec.code_bytes;
  load_tile<kHeadDim>(codec, codes, nullptr, slots.capacity, first, rows, kStepSlots, tile, nullptr,
                      lane, 32);
}

// What a lane knows of a step: lanes 0-15 of the keys of slots 0-15, lanes 16-31 of the values. As
// it was loaded, so that nothing waits for it before it is used.
struct StepScales {
  uint16_t scale = 0x3c00;  // fp16, of the vector
  uint16_t readable = 0;
  float log_weight = 0;  // added to the logit

  __device__ float factor() const { return __half2float(__ushort_as_half(scale)); }
  // In units of log 2.
  __device__ float bias() const {
    return readable != 0 ? log_weight * 1.44269504088896340736f : -INFINITY;
  }
};

// Loads that leave `to` alone unless `wanted`; without branches, so that all are under way at once.
__device__ inline void load_if(bool wanted, const uint16_t* from, uint16_t& to) {
  asm volatile("{ .reg .pred p; setp.ne.s32 p, %1, 0; @p ld.global.u16 %0, [%2]; }"
               : "+h"(to)
               : "r"(static_cast<int>(wanted)), "l"(from)
               : "memory");
}
__device__ inline void load_if(bool wanted, const uint8_t* from, uint16_t& to) {
  asm volatile("{ .reg .pred p; setp.ne.s32 p, %1, 0; @p ld.global.u8 %0, [%2]; }"
               : "+h"(to)
               : "r"(static_cast<int>(wanted)), "l"(from)
               : "memory");
}
__device__ inline void load_if(bool wanted, const float* from, float& to) {
  asm volatile("{ .reg .pred p; setp.ne.s32 p, %1, 0; @p ld.global.f32 %0, [%2]; }"
               : "+f"(to)
               : "r"(static_cast<int>(wanted)), "l"(from)
               : "memory");
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

  uint8_t* memory = nullptr;  // the warp's
  SlotForm k_form, v_form;
  int32_t k_bytes, v_bytes;  // of a step in the ring
  int32_t depth;             // steps in the ring

  // Whether what tensor cores read lies where it arrives.
  __device__ bool k_in_place() const {
    return k_form != SlotForm::tile || k_bytes >= kTileBytes<kHeadDim>;
  }
  __device__ bool v_in_place() const {
    return v_form != SlotForm::tile || v_bytes >= kTileBytes<kHeadDim>;
  }
  // Lays the warp's memory out: the ring, then the tiles that are decoded into.
  __device__ void lay_out(uint8_t* warp_memory) {
    memory = warp_memory;
    k_form = slot_form(slots->k_codec);
    v_form = slot_form(slots->v_codec);
    k_bytes = ring_bytes(slots->k_codec);
    v_bytes = ring_bytes(slots->v_codec);
    const int32_t step = k_bytes + v_bytes;
    const int32_t ring = kWarpBytes - (k_in_place() ? 0 : kTileBytes<kHeadDim>)-(
                                          v_in_place() ? 0 : kTileBytes<kHeadDim>);
    depth = 1;
    if (2 * step <= ring) depth = 2;
    if (3 * step <= ring) depth = 3;
    if (4 * step <= ring) depth = 4;
    if (8 * step <= ring) depth = 8;
  }
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
  __device__ uint8_t* ring(int32_t place) const { return memory + place * (k_bytes + v_bytes); }

  // Starts the loads of a step into a place of the ring; the caller commits and waits. Slot `skip`
  // of the group is left alone.
  __device__ void start(int32_t step, int32_t place, int warp, int lane, int32_t skip = -1) const {
    const int32_t from = step_begin(step, warp);
    const int32_t rows = min(end - from, kStepSlots);
    uint32_t to = shared_u32(ring(place));
    copy_side(to, slots->k_codec, slots->k_codes, k_form == SlotForm::plain, from, rows, lane,
              skip);
    to += static_cast<uint32_t>(k_bytes);
    copy_side(to, slots->v_codec, slots->v_codes, v_form == SlotForm::plain, from, rows, lane,
              skip);
  }

  __device__ void copy_side(uint32_t to, const DeviceCodec& codec, const uint8_t* codes, bool plain,
                            int32_t from, int32_t rows, int lane, int32_t skip) const {
    const int64_t period = slots->capacity * codec.code_bytes;
    codes += kv_head * period;
    if (plain) return copy_rows(to, codec, codes, from, lane, skip);
    copy_bytes(to, codes, int64_t{slot(from)} * codec.code_bytes, period, ring_bytes(codec),
               rows * codec.code_bytes, lane);
  }

  // Plain rows, swizzled.
  __device__ void copy_rows(uint32_t to, const DeviceCodec& codec, const uint8_t* codes,
                            int32_t from, int lane, int32_t skip) const {
    constexpr int kChunks = kHeadDim / 8;
    constexpr int kRows = 32 / kChunks;  // of one access of the warp
    const int chunk = lane % kChunks;
    const auto capacity = static_cast<int32_t>(slots->capacity);
    int row = lane / kChunks;
    int32_t at = slot(min(from + row, end - 1));
#pragma unroll 2  // in full it would keep registers for all addresses
    for (int i = 0; i < kStepSlots / kRows; ++i) {
      const int32_t index = from + row;
      if (index != skip) {
        const uint8_t* source = codes + int64_t{at} * codec.code_bytes + 16 * chunk;
        cp_async_16(to + 2 * static_cast<uint32_t>(tile_chunk<kHeadDim>(row, chunk)),
                    index < end ? source : codes, index < end ? 16 : 0);
      }
      row += kRows;
      at += kRows;
      if (at >= capacity) at -= capacity;
    }
  }

  // Row `end - 1` of plain slots, from the new token itself; in the warp and the place of the ring
  // that would have it.
  __device__ void put_newest(int32_t place, int warp, int lane, const __nv_bfloat16* k,
                             const __nv_bfloat16* v) const {
    constexpr int kChunks = kHeadDim / 8;
    const int row = (end - 1 - begin) % kStepSlots;
    if (lane >= 2 * kChunks || (end - 1 - begin) / kStepSlots % kDecodeWarps != warp) return;
    const int chunk = lane % kChunks;
    const bool value = lane >= kChunks;
    auto* tile = reinterpret_cast<__nv_bfloat16*>(ring(place) + (value ? k_bytes : 0));
    *reinterpret_cast<uint4*>(tile + tile_chunk<kHeadDim>(row, chunk)) =
        reinterpret_cast<const uint4*>(value ? v : k)[chunk];
  }

  __device__ StepScales scales(int32_t step, int warp, int lane) const {
    StepScales out;
    const int32_t index = step_begin(step, warp) + lane % kStepSlots;
    const bool inside = index < end;
    const uint16_t* of = lane < kStepSlots ? slots->k_scales : slots->v_scales;
    const bool scaled = lane < kStepSlots ? slots->k_codec.scaled : slots->v_codec.scaled;
    out.readable = inside ? 1 : 0;
    load_if(inside && scaled, of + kv_head * slots->capacity + slot(index), out.scale);
    load_if(inside && valid != nullptr, valid + index, out.readable);
    load_if(inside && log_weight != nullptr, log_weight + index, out.log_weight);
    return out;
  }

  // The vectors of a step that has arrived. `band` is [head_dim] of the key codec, in shared
  // memory.
  template <typename Codecs>
  __device__ DecodeVectors vectors(int32_t step, int32_t place, int warp, int lane,
                                   const int16_t* band) const {
    const uint32_t stored = shared_u32(ring(place));
    DecodeVectors out{stored, stored + static_cast<uint32_t>(k_bytes)};
    if (k_form != SlotForm::tile && v_form != SlotForm::tile) return out;
    uint8_t* decoded = memory + kWarpBytes;
    const int32_t from = step_begin(step, warp);
    const int32_t rows = min(end - from, kStepSlots);
#pragma unroll 1
    for (int value = 0; value < 2; ++value) {
      if ((value ? v_form : k_form) != SlotForm::tile) continue;
      uint8_t* tile = ring(place) + (value ? k_bytes : 0);
      if (!(value ? v_in_place() : k_in_place())) tile = decoded -= kTileBytes<kHeadDim>;
      decode_vectors<kHeadDim, Codecs>(*slots, value, kv_head, value ? out.v : out.k,
                                       value ? nullptr : band, slot(from), rows, lane, tile);
      (value ? out.v : out.k) = shared_u32(tile);
    }
    __syncwarp();
    return out;
  }
};

// Waits until the oldest of `depth` steps under way has arrived.
__device__ inline void wait_for_step(int32_t depth) {
  switch (depth) {
    case 1:
      return cp_async_wait<0>();
    case 2:
      return cp_async_wait<1>();
    case 3:
      return cp_async_wait<2>();
    case 4:
      return cp_async_wait<3>();
    default:
      return cp_async_wait<7>();
  }
}

}  // namespace kvg::cuda
