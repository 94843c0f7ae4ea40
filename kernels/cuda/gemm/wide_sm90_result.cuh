#pragma once

#include "kernels/cuda/gemm/silu.cuh"
#include "kernels/cuda/gemm/wide_sm90_tile.cuh"
#include "kernels/cuda/hopper/barrier.cuh"
#include "kernels/cuda/hopper/cluster.cuh"

#include <cstdint>

// From the sums of a warpgroup to the result: parts of sums meet in memory, results go through
// shared memory, which turns them around.
namespace kvg::cuda {

__device__ __forceinline__ uint32_t pack_bf16_pair(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&both);
}

// One warpgroup. The thread of warp w and lane l has, of the unit's 64 rows of W, 16 w + l / 4 in
// sums[4 i + {0, 1}] and the 8th below in sums[4 i + {2, 3}], for rows 8 i + 2 (l % 4) + {0, 1} of
// x. Gated: a gate and its up.
template <typename Tile, WideResult kResult>
class WideWriter {
 public:
  using Sums = float[Tile::kSums];

  __device__ WideWriter(const WideParams& p, WideShared<Tile>& shared, int unit, int thread)
      : p_(p),
        unit_(unit),
        thread_(thread),
        warp_(thread / 32),
        lane_(thread % 32),
        memory_(hopper::shared_u32(shared.result[unit])) {}

  __device__ __forceinline__ void write_all(Sums& sums, int tile) {
    add_bias(sums, tile);
#pragma unroll
    for (int part = 0; part < Tile::kParts; ++part) {
      write(sums + part * Tile::kPartSums, part, tile);
    }
  }

  // The sums of one of the splits of a tile.
  __device__ __forceinline__ void join(Sums& sums, int tile, int split) {
    if (p_.splits == 2) {
      split == 0 ? join_as<2, 0>(sums, tile) : join_as<2, 1>(sums, tile);
    } else if (split < 2) {
      split == 0 ? join_as<4, 0>(sums, tile) : join_as<4, 1>(sums, tile);
    } else {
      split == 2 ? join_as<4, 2>(sums, tile) : join_as<4, 3>(sums, tile);
    }
  }

 private:
  static constexpr int kFours = Tile::kPartSums / 4;
  static constexpr int kOut = kResult == WideResult::gated ? 32 : 64;  // columns of a unit
  static constexpr int kSize = kResult == WideResult::f32 ? 4 : 2;     // of an element
  static constexpr int kChunks = kOut * kSize / 16;                    // of a row of a unit
  static constexpr int kBuffers = kResult == WideResult::f32 ? 1 : 2;

  __device__ void sync() const { hopper::named_barrier_wait(1 + unit_, 128); }

  __device__ int first_column(int tile) const {
    const int columns = kResult == WideResult::gated ? p_.tile_rows / 2 : p_.tile_rows;
    return tile * columns + unit_ * kOut;
  }
  // Columns of the unit that lie in the tile and in the result.
  __device__ int columns(int tile) const {
    const int of_tile = kResult == WideResult::gated ? p_.tile_rows / 2 : p_.tile_rows;
    return min(min(kOut, of_tile - unit_ * kOut), p_.out - first_column(tile));
  }

  // Each split adds up and writes some parts of the tile. Which they are is known to the compiler,
  // so that registers of the others are free once they are given away.
  template <int kSplits, int kSplit>
  __device__ __forceinline__ void join_as(Sums& sums, int tile) {
    constexpr int kOwn = Tile::kParts / kSplits;
    float4* mine = place_of(tile, kSplit);
#pragma unroll
    for (int i = 0; i < Tile::kParts * kFours; ++i) {
      if (i / kFours / kOwn == kSplit) continue;
      __stcg(mine + i * 128,
             make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
    }
    int32_t* counters = p_.counters + 2 * (tile * kWideUnits + unit_);
    announce(counters);
    await(counters, kSplits);
#pragma unroll
    for (int part = kSplit * kOwn; part < (kSplit + 1) * kOwn; ++part) {
      float own[Tile::kPartSums];
#pragma unroll
      for (int j = 0; j < Tile::kPartSums; ++j) own[j] = sums[part * Tile::kPartSums + j];
      add<kSplits>(own, part, tile, kSplit);
      add_bias(own, tile);
      write(own, part, tile);
    }
    leave(counters, kSplits);
  }

  // Sums of this unit of one of a tile's splits; each thread's are 128 apart.
  __device__ float4* place_of(int tile, int split) const {
    const int block = tile * p_.splits + split;
    return p_.parts + (int64_t{block} * kWideUnits + unit_) * (Tile::kSums / 4 * 128) + thread_;
  }
  // What the other splits have of a part, in their order; all on their way at once.
  template <int kSplits>
  __device__ __forceinline__ void add(float (&sums)[Tile::kPartSums], int part, int tile,
                                      int split) const {
    float4 value[kSplits - 1][kFours];
#pragma unroll
    for (int i = 0; i < kSplits - 1; ++i) {
      const float4* from = place_of(tile, i < split ? i : i + 1) + part * kFours * 128;
#pragma unroll
      for (int j = 0; j < kFours; ++j) value[i][j] = __ldcg(from + j * 128);
    }
#pragma unroll
    for (int i = 0; i < kSplits - 1; ++i) {
#pragma unroll
      for (int j = 0; j < kFours; ++j) {
        sums[4 * j] += value[i][j].x;
        sums[4 * j + 1] += value[i][j].y;
        sums[4 * j + 2] += value[i][j].z;
        sums[4 * j + 3] += value[i][j].w;
      }
    }
  }

  // Says that this warpgroup's parts are in memory.
  __device__ void announce(int32_t* counters) const {
    sync();
    if (thread_ != 0) return;
    __threadfence();
    atomicAdd(counters, 1);
  }
  __device__ void await(const int32_t* counters, int count) const {
    if (thread_ == 0) {
      int seen = 0;
      do {
        asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(seen) : "l"(counters) : "memory");
      } while (seen < count);
    }
    sync();
  }
  // The last one leaves the counters as they were.
  __device__ void leave(int32_t* counters, int count) const {
    if (thread_ != 0 || atomicAdd(counters + 1, 1) != count - 1) return;
    counters[0] = 0;
    counters[1] = 0;
  }

  template <int kCount>
  __device__ __forceinline__ void add_bias(float (&sums)[kCount], int tile) const {
    if constexpr (kResult != WideResult::gated) {
      if (p_.bias == nullptr) return;
      const int row = 16 * warp_ + lane_ / 4;
      const __nv_bfloat16* bias = p_.bias + first_column(tile) + row;
      const int end = columns(tile);
      const float low = row < end ? __bfloat162float(bias[0]) : 0.0f;
      const float high = row + 8 < end ? __bfloat162float(bias[8]) : 0.0f;
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        sums[i] += low;
        sums[i + 1] += low;
        sums[i + 2] += high;
        sums[i + 3] += high;
      }
    }
  }

  // One part. With two buffers whoever writes to one has seen all threads leave it.
  __device__ __forceinline__ void write(const float* s, int part, int tile) {
    const uint32_t to = memory_ + buffer_ * (Tile::kResultBytes / 2);
    if constexpr (kBuffers == 2) buffer_ ^= 1;
    if constexpr (kBuffers == 1) sync();
    if constexpr (kResult == WideResult::bf16) {
      turn_bf16(s, to);
    } else if constexpr (kResult == WideResult::gated) {
      turn_gated(s, to);
    } else {
      turn_f32(s, to);
    }
    sync();
    const int end = columns(tile);
    const int row_begin = part * Tile::kPartRows;
    auto* result = static_cast<uint8_t*>(p_.result) +
                   (int64_t{row_begin} * p_.out + first_column(tile)) * kSize;
#pragma unroll
    for (int i = 0; i < Tile::kPartRows * kChunks; i += 128) {
      const int row = (i + thread_) / kChunks;
      const int chunk = thread_ % kChunks;
      if (row >= Tile::kPartRows || row_begin + row >= p_.rows || chunk * (16 / kSize) >= end) {
        continue;
      }
      uint4 value;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                   : "r"(to + place(row, chunk))
                   : "memory");
      *reinterpret_cast<uint4*>(result + int64_t{row} * p_.out * kSize + 16 * chunk) = value;
    }
  }
  // Where a chunk of a row lies, so that neither the way in nor the way out meets a bank twice.
  __device__ static uint32_t place(int row, int chunk) {
    const int turned = kChunks == 4 ? chunk ^ row / 2 % 4 : chunk ^ row % 8;
    return static_cast<uint32_t>(row * kChunks + turned) << 4;
  }

  __device__ __forceinline__ void turn_bf16(const float* s, uint32_t to) const {
    const int row = lane_ / 16 * 8 + lane_ % 8;
    to += place(row, 2 * warp_ + lane_ / 8 % 2);
#pragma unroll
    for (int i = 0; i < Tile::kPartSums; i += 8) {
      hopper::store_transposed(to + i * 2 * kChunks * 16, pack_bf16_pair(s[i], s[i + 1]),
                               pack_bf16_pair(s[i + 2], s[i + 3]),
                               pack_bf16_pair(s[i + 4], s[i + 5]),
                               pack_bf16_pair(s[i + 6], s[i + 7]));
    }
  }
  __device__ __forceinline__ void turn_gated(const float* s, uint32_t to) const {
    to += place(lane_ % 16, warp_);
#pragma unroll
    for (int i = 0; i < Tile::kPartSums; i += 8) {
      hopper::store_transposed(
          to + i * 2 * kChunks * 16,
          pack_bf16_pair(silu_gated(s[i], s[i + 2]), silu_gated(s[i + 1], s[i + 3])),
          pack_bf16_pair(silu_gated(s[i + 4], s[i + 6]), silu_gated(s[i + 5], s[i + 7])));
    }
  }
  __device__ __forceinline__ void turn_f32(const float* s, uint32_t to) const {
    to += static_cast<uint32_t>(lane_ / 4 % 4 * 4);
    const int row = 2 * (lane_ % 4);
    const int chunk = 4 * warp_ + lane_ / 16;
#pragma unroll
    for (int i = 0; i < Tile::kPartSums; ++i) {
      const uint32_t at = to + place(i / 4 * 8 + row + i % 2, chunk + i % 4 / 2 * 2);
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(s[i]) : "memory");
    }
  }

  const WideParams& p_;
  int unit_, thread_, warp_, lane_;
  uint32_t memory_;
  uint32_t buffer_ = 0;
};

}  // namespace kvg::cuda
