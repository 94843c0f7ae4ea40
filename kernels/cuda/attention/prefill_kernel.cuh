#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_tile.cuh"
#include "kernels/cuda/codec/tile.cuh"
#include "kernels/cuda/codec/warp_rotation.cuh"

#include <cmath>
#include <cstdint>

#include <cuda_bf16.h>

// Attention of many queries on tensor cores, for compute capability 8.0 and later: one thread block
// an item and KV head. It walks over the slots that its rows may read, 64 at a time; K and V of the
// next tile arrive while one is in use. There is one barrier a tile.
namespace kvg::cuda {

// The next tile to read: slots [begin, min(begin + kTileSlots, end)) of a group.
struct TileCursor {
  int group = 0;
  int begin = 0;
  int end = 0;
};

template <int kHeadDim, int kRowTiles>
class PrefillWork {
 public:
  using Shared = PrefillShared<kHeadDim, kRowTiles>;

  __device__ PrefillWork(const PrefillLaunch& p, Shared& shared)
      : p_(p), shared_(shared), kv_head_(static_cast<int>(blockIdx.x) % p.kv_heads) {
    const PrefillItem item = p.items[static_cast<int>(blockIdx.x) / p.kv_heads];
    const PrefillBlock block = p.blocks[item.block];
    const int heads = p.heads / p.kv_heads;
    const int units = block.rows * heads;
    group_end_ = block.group_end;
    row_begin_ = block.row_begin;
    first_row_ = item.first_unit / heads;
    last_row_ = (min(item.first_unit + Shared::kRows / p.streams, units) - 1) / heads;
    load_.group = block.group_begin;
    for (int row = threadIdx.x; row < Shared::kRows; row += kPrefillThreads) {
      describe_row(row, item.first_unit, units);
    }
  }

  __device__ void run() {
    __syncthreads();
    Rows rows;
    seek(load_);
    if (load_.group < group_end_) walk(rows);
    rows.invert_sums();
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) write_tile(rows, tile);
  }

 private:
  using Rows = AttentionRows<kHeadDim, kRowTiles>;

  // Two streams: rows r and r + 8 of every 16 are the streams of one unit, so that they meet in one
  // thread. Units beyond the last read what that one reads, and are not written.
  __device__ void describe_row(int row, int first_unit, int units) {
    const bool two = p_.streams == 2;
    const int heads = p_.heads / p_.kv_heads;
    const int unit = first_unit + (two ? row / 16 * 8 + row % 8 : row);
    const int block_row = min(unit, units - 1) / heads;
    const int q_row =
        (static_cast<int>(row_begin_) + block_row) * p_.streams + (two ? row / 8 % 2 : 0);
    shared_.block_row[row] = block_row;
    shared_.q_row[row] = unit < units ? q_row * p_.heads + kv_head_ * heads + unit % heads : -1;
  }

  // Moves a cursor to the first slot that any row of the item may read, from its group on.
  __device__ void seek(TileCursor& cursor) const {
    for (; cursor.group < group_end_; ++cursor.group) {
      const PrefillGroup& group = p_.groups[cursor.group];
      cursor.begin = max(0, group.newest + first_row_ - group.window + 1);
      cursor.end = min(group.count, group.newest + last_row_ + 1);
      if (cursor.begin < cursor.end) return;
    }
  }
  __device__ void advance(TileCursor& cursor) const {
    cursor.begin += kTileSlots;
    if (cursor.begin < cursor.end) return;
    ++cursor.group;
    seek(cursor);
  }

  __device__ void walk(Rows& rows) {
    TileCursor now = load_;
    int stage = 0;
    load_queries(p_.groups[now.group]);
    load_slots(stage);
    cp_async_commit();
    advance(load_);
    int group = now.group;
    while (true) {
      cp_async_wait<0>();
      __syncthreads();
      if (now.group != group) {
        change_group(rows, p_.groups[group], p_.groups[now.group], stage ^ 1);
        group = now.group;
      }
      const bool last = load_.group >= group_end_;
      if (!last) {
        load_slots(stage ^ 1);
        cp_async_commit();
      }
      attend(rows, now, stage);
      if (last) break;
      now = load_;
      advance(load_);
      stage ^= 1;
    }
    leave_frame(rows, p_.groups[group], stage ^ 1);
  }

  // Queries and sums into the frames of another group. Nobody reads `free_stage`.
  __device__ void change_group(Rows& rows, const PrefillGroup& from, const PrefillGroup& to,
                               int free_stage) {
    const bool same_queries =
        from.query_frame == to.query_frame && from.k_rotation == to.k_rotation;
    const bool same_values = from.v_rotation == to.v_rotation;
    if (!same_values) {
      leave_frame(rows, from, free_stage);
      if (to.v_rotation != kIdentityFrame) {
        rotate_sums<true>(rows, p_.codecs[to.v_codec], free_stage);
      }
    }
    if (!same_queries) {
      load_queries(to);
      cp_async_commit();
      cp_async_wait<0>();
    }
    if (!same_queries || !same_values) __syncthreads();
  }
  __device__ void leave_frame(Rows& rows, const PrefillGroup& group, int free_stage) {
    if (group.v_rotation == kIdentityFrame) return;
    rotate_sums<false>(rows, p_.codecs[group.v_codec], free_stage);
  }

  // Sums of the warp's rows into a codec's frame or out of it, in the warp's quarter of a stage.
  template <bool kInto>
  __device__ void rotate_sums(Rows& rows, const DeviceCodec& codec, int free_stage) {
    float* scratch = reinterpret_cast<float*>(shared_.stages[free_stage][0]) +
                     threadIdx.x / 32 * (16 * kHeadDim);
    const WarpRotation<kHeadDim> rotation(codec, p_.layer, kv_head_, true);
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      rows.store_out(tile, scratch);
      __syncwarp();
#pragma unroll 1
      for (int row = 0; row < 16; ++row) {
        float* lane = scratch + row * kHeadDim + lane_id() * kLaneWidth<kHeadDim>;
        float x[kLaneWidth<kHeadDim>];
#pragma unroll
        for (int i = 0; i < kLaneWidth<kHeadDim>; ++i) x[i] = lane[i];
        if constexpr (kInto) {
          rotation.apply(x);
        } else {
          rotation.apply_transposed(x);
        }
#pragma unroll
        for (int i = 0; i < kLaneWidth<kHeadDim>; ++i) lane[i] = x[i];
      }
      __syncwarp();
      rows.load_out(tile, scratch);
      __syncwarp();
    }
  }

  // The item's queries in the frame of a group's keys; rows without one are zeros. The caller waits
  // for copies and synchronises.
  __device__ void load_queries(const PrefillGroup& group) {
    const auto* q = static_cast<const __nv_bfloat16*>(p_.q) +
                    group.query_frame * p_.rows * p_.streams * p_.heads * kHeadDim;
    if (group.k_rotation != kIdentityFrame) return rotate_queries(q, p_.codecs[group.k_codec]);
    constexpr int kChunks = kHeadDim / 8;
    const int chunk = threadIdx.x % kChunks;
#pragma unroll 4
    for (int row = threadIdx.x / kChunks; row < Shared::kRows; row += kPrefillThreads / kChunks) {
      const int q_row = shared_.q_row[row];
      cp_async_16(shared_address(shared_.q + tile_chunk<kHeadDim>(row, chunk)),
                  q + int64_t{max(q_row, 0)} * kHeadDim + 8 * chunk, q_row < 0 ? 0 : 16);
    }
  }

  __device__ void rotate_queries(const __nv_bfloat16* q, const DeviceCodec& codec) {
    constexpr int kWidth = kLaneWidth<kHeadDim>;
    const WarpRotation<kHeadDim> rotation(codec, p_.layer, kv_head_, false);
    const int element = lane_id() * kWidth;
#pragma unroll 1
    for (int row = threadIdx.x / 32; row < Shared::kRows; row += kPrefillWarps) {
      const int q_row = shared_.q_row[row];
      float x[kWidth] = {};
      if (q_row >= 0) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          x[i] = __bfloat162float(q[int64_t{q_row} * kHeadDim + element + i]);
        }
      }
      rotation.apply(x);
      __nv_bfloat16* to = shared_.q + tile_chunk<kHeadDim>(row, element / 8) + element % 8;
#pragma unroll
      for (int i = 0; i < kWidth; i += 2) {
        *reinterpret_cast<uint32_t*>(to + i) = pack_bf16(x[i], x[i + 1]);
      }
    }
  }

  // The tile of load_ into a stage. The caller waits for copies and synchronises.
  __device__ void load_slots(int stage) {
    const PrefillGroup& group = p_.groups[load_.group];
    const int rows = min(kTileSlots, load_.end - load_.begin);
    int slot = group.first_slot + load_.begin;
    if (slot >= group.capacity) slot -= group.capacity;
#pragma unroll 1
    for (int value = 0; value < 2; ++value) {
      const DeviceCodec& codec = p_.codecs[value ? group.v_codec : group.k_codec];
      const int64_t before = int64_t{kv_head_} * group.capacity;
      const uint8_t* codes = (value ? group.v_codes : group.k_codes) + before * codec.code_bytes;
      __nv_bfloat16* tile = shared_.stages[stage][value];
      if (value ? group.plain_v : group.plain_k) {
        copy_slots(codes, slot, group.capacity, rows, tile);
        continue;
      }
      const uint16_t* scales = value ? group.v_scales : group.k_scales;
      load_tile<kHeadDim>(codec, codes, scales != nullptr ? scales + before : nullptr,
                          group.capacity, slot, rows, kTileSlots, tile,
                          shared_.scales[stage][value], static_cast<int>(threadIdx.x),
                          kPrefillThreads);
    }
    if (group.weighed && threadIdx.x < kTileSlots) load_bias(group, stage);
  }

  // A tile of bf16 slots: load_tile's own case, unrolled, with 32-bit arithmetic.
  __device__ static void copy_slots(const uint8_t* codes, int slot, int capacity, int rows,
                                    __nv_bfloat16* tile) {
    constexpr int kChunks = kHeadDim / 8;
    constexpr int kStep = kPrefillThreads / kChunks;  // a multiple of 8: the swizzle stays
    const int first = threadIdx.x / kChunks;
    const int chunk = threadIdx.x % kChunks;
    const uint32_t to = shared_address(tile + tile_chunk<kHeadDim>(first, chunk));
    codes += 16 * chunk;
#pragma unroll
    for (int i = 0; i < kTileSlots / kStep; ++i) {
      const int row = first + i * kStep;
      int at = slot + row;
      if (at >= capacity) at -= capacity;
      const bool valid = row < rows;
      cp_async_16(to + i * (kStep * 2 * kHeadDim),
                  codes + (valid ? int64_t{at} * (2 * kHeadDim) : 0), valid ? 16 : 0);
    }
  }

  // What weigh_slots adds to a slot's logit, and its scale where load_tile has not written it.
  __device__ void load_bias(const PrefillGroup& group, int stage) {
    const int i = load_.begin + static_cast<int>(threadIdx.x);
    float bias = 0;
    if (i < load_.end) {
      if (group.log_weight != nullptr) bias = group.log_weight[i] * 1.44269504f;  // log2(e)
      if (group.valid != nullptr && group.valid[i] == 0) bias = -INFINITY;
    }
    shared_.bias[stage][threadIdx.x] = bias;
    if (group.plain_k) shared_.scales[stage][0][threadIdx.x] = 1;
  }

  __device__ void attend(Rows& rows, const TileCursor& now, int stage) {
    const PrefillGroup& group = p_.groups[now.group];
    const int warp_row = threadIdx.x / 32 * (16 * kRowTiles);
    typename Rows::Scores scores;
    Rows::multiply_keys(shared_.q + warp_row * kHeadDim, shared_.stages[stage][0], scores);
    float factor = p_.scale_log2;
    if (group.weighed) {
      Rows::weigh_slots(scores, shared_.scales[stage][0], shared_.bias[stage], factor);
      factor = 1;
    }
    // Readable by all rows: slots from where the last row's window begins to the first row's own.
    if (now.begin < group.newest + last_row_ - group.window + 1 ||
        now.begin + kTileSlots > min(group.count, group.newest + first_row_ + 1)) {
      hide(scores, group, now.begin, warp_row);
    }
    rows.soften(scores, factor);
    if (group.v_scales != nullptr) Rows::scale_weights(scores, shared_.scales[stage][1]);
    rows.add_values(scores, shared_.stages[stage][1]);
  }

  __device__ void hide(typename Rows::Scores& scores, const PrefillGroup& group, int begin,
                       int warp_row) const {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = warp_row + 16 * tile + 8 * half + lane_id() / 4;
        const int own = group.newest + shared_.block_row[row];
        Rows::hide_columns(scores[tile], half, own - group.window + 1 - begin,
                           min(group.count, own + 1) - begin);
      }
    }
  }

  // Combines the streams, applies the head norm and writes 16 packed rows.
  __device__ void write_tile(const Rows& rows, int tile) {
    const float* inverse = rows.sum[tile];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half == 1 && p_.streams == 2) return;
      const int row = (threadIdx.x / 32 * kRowTiles + tile) * 16 + 8 * half + lane_id() / 4;
      const int q_row = shared_.q_row[row];
      const int64_t block_row = row_begin_ + shared_.block_row[row];
      const int64_t out_row = q_row - (p_.streams - 1) * block_row * p_.heads;
      float lambda = 0;
      if (p_.streams == 2 && q_row >= 0) lambda = p_.lambda[out_row] * inverse[1];
      float x[Rows::kOutTiles][2];
      float squares = 0;
#pragma unroll
      for (int n = 0; n < Rows::kOutTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          x[n][i] = rows.out[tile][n][2 * half + i] * inverse[half];
          if (p_.streams == 2) x[n][i] -= rows.out[tile][n][2 + i] * lambda;
          squares += x[n][i] * x[n][i];
        }
      }
      if (p_.head_norm != nullptr) normalize(x, squares);
      if (q_row < 0) continue;
      auto* out = static_cast<__nv_bfloat16*>(p_.out) + out_row * kHeadDim + lane_id() % 4 * 2;
#pragma unroll
      for (int n = 0; n < Rows::kOutTiles; ++n) {
        *reinterpret_cast<uint32_t*>(out + 8 * n) = pack_bf16(x[n][0], x[n][1]);
      }
    }
  }

  // x *= w / sqrt(mean(x^2) + eps) over the four lanes of a row.
  __device__ void normalize(float (&x)[Rows::kOutTiles][2], float squares) const {
    squares += __shfl_xor_sync(0xffffffffu, squares, 1);
    squares += __shfl_xor_sync(0xffffffffu, squares, 2);
    const float scale = rsqrtf(squares * (1.0f / kHeadDim) + p_.head_norm_eps);
    const auto* weight = static_cast<const __nv_bfloat162*>(p_.head_norm) + lane_id() % 4;
#pragma unroll
    for (int n = 0; n < Rows::kOutTiles; ++n) {
      const float2 w = __bfloat1622float2(weight[4 * n]);
      x[n][0] *= scale * w.x;
      x[n][1] *= scale * w.y;
    }
  }

  const PrefillLaunch& p_;
  Shared& shared_;
  int kv_head_;
  int group_end_;
  int first_row_, last_row_;  // rows of the block that the item has
  int64_t row_begin_;
  TileCursor load_;
};

template <int kHeadDim, int kRowTiles>
__global__ void __launch_bounds__(kPrefillThreads, 2)
    prefill_kernel(const __grid_constant__ PrefillLaunch p) {
  extern __shared__ unsigned char memory[];
  using Shared = PrefillShared<kHeadDim, kRowTiles>;
  PrefillWork<kHeadDim, kRowTiles>(p, *reinterpret_cast<Shared*>(memory)).run();
}

template <int kHeadDim, int kRowTiles>
cudaError_t launch_prefill(const PrefillLaunch& p, cudaStream_t stream) {
  if (p.head_dim != kHeadDim || p.kv_heads <= 0 || p.heads % p.kv_heads != 0 || p.item_count < 0) {
    return cudaErrorInvalidValue;
  }
  if (p.item_count == 0) return cudaSuccess;
  constexpr int kBytes = sizeof(PrefillShared<kHeadDim, kRowTiles>);
  const auto kernel = prefill_kernel<kHeadDim, kRowTiles>;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  const auto blocks = static_cast<unsigned>(p.item_count) * static_cast<unsigned>(p.kv_heads);
  kernel<<<blocks, kPrefillThreads, kBytes, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace kvg::cuda
