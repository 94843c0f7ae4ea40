#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_rotation.cuh"
#include "kernels/cuda/attention/prefill_tile.cuh"
#include "kernels/cuda/codec/tile.cuh"

#include <cmath>
#include <cstdint>

#include <cuda_bf16.h>

// Attention of many queries on tensor cores, for compute capability 8.0 and later: one thread block
// an item and KV head. It walks over the slots that its rows may read, 64 at a time; K and V of the
// next tile arrive while one is in use. There is one barrier a tile.
namespace kvg::cuda {

template <int kHeadDim, int kRowTiles>
class PrefillWork {
 public:
  using Shared = PrefillShared<kHeadDim, kRowTiles>;

  __device__ PrefillWork(const PrefillLaunch& p, Shared& shared) : p_(p), shared_(shared) {
    const PrefillItem item = p.items[static_cast<int>(blockIdx.x) / p.kv_heads];
    const PrefillBlock block = p.blocks[item.block];
    const int kv_head = static_cast<int>(blockIdx.x) % p.kv_heads;
    const int heads = p.heads / p.kv_heads;
    const int units = block.rows * heads;
    const int last_unit = min(item.first_unit + Shared::kRows / p.streams, units) - 1;
    if (threadIdx.x == 0) {
      shared.item = {block.row_begin, kv_head, block.group_end, item.first_unit / heads,
                     last_unit / heads};
      shared.tiles[0] = seek(block.group_begin);
    }
    for (int row = threadIdx.x; row < Shared::kRows; row += kPrefillThreads) {
      describe_row(row, item.first_unit, units, block.row_begin, kv_head);
    }
  }

  __device__ void run() {
    __syncthreads();
    Rows rows;
    if (shared_.tiles[0].group < shared_.item.group_end) walk(rows);
    rows.invert_sums();
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) write_tile(rows, tile);
  }

 private:
  using Rows = AttentionRows<kHeadDim, kRowTiles>;
  static constexpr int kNoGroup = -1;

  // Two streams: rows r and r + 8 of every 16 are the streams of one unit, so that they meet in one
  // thread. Units beyond the last read what that one reads, and are not written.
  __device__ void describe_row(int row, int first_unit, int units, int64_t row_begin, int kv_head) {
    const bool two = p_.streams == 2;
    const int heads = p_.heads / p_.kv_heads;
    const int unit = first_unit + (two ? row / 16 * 8 + row % 8 : row);
    const int block_row = min(unit, units - 1) / heads;
    const int q_row =
        (static_cast<int>(row_begin) + block_row) * p_.streams + (two ? row / 8 % 2 : 0);
    shared_.block_row[row] = block_row;
    shared_.q_row[row] = unit < units ? q_row * p_.heads + kv_head * heads + unit % heads : -1;
  }

  // The first slots that any row of the item may read, from `group` on.
  __device__ TileCursor seek(int group) const {
    TileCursor cursor = {group, 0, 0};
    for (; cursor.group < shared_.item.group_end; ++cursor.group) {
      const PrefillGroup& at = p_.groups[cursor.group];
      cursor.begin = max(0, at.newest + shared_.item.first_row - at.window + 1);
      cursor.end = min(at.count, at.newest + shared_.item.last_row + 1);
      if (cursor.begin < cursor.end) break;
    }
    return cursor;
  }
  __device__ TileCursor following(TileCursor cursor) const {
    cursor.begin += kTileSlots;
    return cursor.begin < cursor.end ? cursor : seek(cursor.group + 1);
  }

  // Tile i is in stage i % 2, and what it is in tiles[i % 4]: written during tile i - 1, read until
  // the end of tile i + 1.
  __device__ void walk(Rows& rows) {
    load_queries(p_.groups[shared_.tiles[0].group]);
    load_slots(shared_.tiles[0], 0);
    cp_async_commit();
    for (int i = 0;; ++i) {
      cp_async_wait<0>();
      __syncthreads();
      const TileCursor now = shared_.tiles[i % 4];
      const bool done = now.group >= shared_.item.group_end;
      const int before = i > 0 ? shared_.tiles[(i - 1) % 4].group : kNoGroup;
      change_group(rows, before, done ? kNoGroup : now.group, (i + 1) % 2);
      if (done) break;
      const TileCursor next = following(now);
      if (threadIdx.x == 0) shared_.tiles[(i + 1) % 4] = next;
      if (next.group < shared_.item.group_end) load_slots(next, (i + 1) % 2);
      cp_async_commit();
      attend(rows, shared_.tiles[i % 4], i % 2);
    }
  }

  // Queries and sums into the frames of another group; sums without a group are in no frame. Nobody
  // reads `free_stage`.
  __device__ void change_group(Rows& rows, int from, int to, int free_stage) {
    if (from == to) return;
    float* scratch =
        reinterpret_cast<float*>(shared_.stages[free_stage][0]) + threadIdx.x / 32 * (8 * kHeadDim);
    const int to_rotation = to == kNoGroup ? kIdentityFrame : p_.groups[to].v_rotation;
    const bool turn_sums = from != kNoGroup && p_.groups[from].v_rotation != to_rotation;
    if (turn_sums) {
#pragma unroll 1
      for (int into = 0; into < 2; ++into) {
        const int group = into ? to : from;
        if (group == kNoGroup || p_.groups[group].v_rotation == kIdentityFrame) continue;
        const TileRotation<kHeadDim> rotation(p_.codecs[p_.groups[group].v_codec], p_.layer,
                                              shared_.item.kv_head, true);
#pragma unroll
        for (int i = 0; i < 2 * kRowTiles; ++i) {
          typename TileRotation<kHeadDim>::Values x;
          rows.get_out(i / 2, i % 2, x);
          rotation.apply(x, into != 0, scratch);
          rows.set_out(i / 2, i % 2, x);
          __syncwarp();
        }
      }
    }
    if (to == kNoGroup) return;
    const PrefillGroup& group = p_.groups[to];
    bool new_queries = true;
    if (from != kNoGroup) {
      new_queries = p_.groups[from].query_frame != group.query_frame ||
                    p_.groups[from].k_rotation != group.k_rotation;
      if (new_queries) {
        load_queries(group);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
      }
    }
    const bool turn_queries = new_queries && group.k_rotation != kIdentityFrame;
    if (turn_queries) rotate_queries(p_.codecs[group.k_codec], scratch);
    if (turn_sums || turn_queries) __syncthreads();  // the stage is free again
  }

  // The item's queries as they are; rows without one are zeros. The caller waits for copies and
  // synchronises.
  __device__ void load_queries(const PrefillGroup& group) {
    const auto* q = static_cast<const __nv_bfloat16*>(p_.q) +
                    group.query_frame * p_.rows * p_.streams * p_.heads * kHeadDim;
    constexpr int kChunks = kHeadDim / 8;
    const int chunk = fresh_thread() % kChunks;
#pragma unroll 4
    for (int row = fresh_thread() / kChunks; row < Shared::kRows;
         row += kPrefillThreads / kChunks) {
      const int q_row = shared_.q_row[row];
      cp_async_16(shared_u32(shared_.q + tile_chunk<kHeadDim>(row, chunk)),
                  q + int64_t{max(q_row, 0)} * kHeadDim + 8 * chunk, q_row < 0 ? 0 : 16);
    }
  }

  // The warp's queries into the frame of a codec of K.
  __device__ void rotate_queries(const DeviceCodec& codec, float* scratch) {
    const TileRotation<kHeadDim> rotation(codec, p_.layer, shared_.item.kv_head, false);
    __nv_bfloat16* q = shared_.q + threadIdx.x / 32 * (16 * kRowTiles * kHeadDim);
#pragma unroll 1
    for (int row = 0; row < 16 * kRowTiles; row += 8, q += 8 * kHeadDim) {
      typename TileRotation<kHeadDim>::Values x;
      load_rows<kHeadDim>(q, x);
      rotation.apply(x, true, scratch);
      store_rows<kHeadDim>(q, x);
    }
  }

  // A tile into a stage. The caller waits for copies and synchronises.
  __device__ void load_slots(const TileCursor& cursor, int stage) {
    const PrefillGroup& group = p_.groups[cursor.group];
    const int rows = min(kTileSlots, cursor.end - cursor.begin);
    int slot = group.first_slot + cursor.begin;
    if (slot >= group.capacity) slot -= group.capacity;
#pragma unroll 1
    for (int value = 0; value < 2; ++value) {
      const DeviceCodec& codec = p_.codecs[value ? group.v_codec : group.k_codec];
      const int64_t before = int64_t{shared_.item.kv_head} * group.capacity;
      const uint8_t* codes = (value ? group.v_codes : group.k_codes) + before * codec.code_bytes;
      __nv_bfloat16* tile = shared_.stages[stage][value];
      if (value ? group.plain_v : group.plain_k) {
        copy_slots(codes, slot, group.capacity, rows, tile);
        continue;
      }
      const uint16_t* scales = value ? group.v_scales : group.k_scales;
      load_tile<kHeadDim>(codec, codes, scales != nullptr ? scales + before : nullptr,
                          group.capacity, slot, rows, kTileSlots, tile,
                          shared_.scales[stage][value], fresh_thread(), kPrefillThreads);
    }
    if (group.weighed && fresh_thread() < kTileSlots) load_bias(group, cursor, stage);
  }

  // A tile of bf16 slots: load_tile's own case, unrolled, with 32-bit arithmetic.
  __device__ static void copy_slots(const uint8_t* codes, int slot, int capacity, int rows,
                                    __nv_bfloat16* tile) {
    constexpr int kChunks = kHeadDim / 8;
    constexpr int kStep = kPrefillThreads / kChunks;  // a multiple of 8: the swizzle stays
    const int first = fresh_thread() / kChunks;
    const int chunk = fresh_thread() % kChunks;
    const uint32_t to = shared_u32(tile + tile_chunk<kHeadDim>(first, chunk));
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

  // What weigh_slots adds to a slot's logit, and its scales where load_tile has not written them.
  __device__ void load_bias(const PrefillGroup& group, const TileCursor& cursor, int stage) {
    const int i = cursor.begin + fresh_thread();
    float bias = 0;
    if (i < cursor.end) {
      if (group.log_weight != nullptr) bias = group.log_weight[i] * (kLog2E / p_.scale_log2);
      if (group.valid != nullptr && group.valid[i] == 0) bias = -INFINITY;
    }
    shared_.bias[stage][fresh_thread()] = bias;
    if (group.plain_k) shared_.scales[stage][0][fresh_thread()] = 1;
    if (group.plain_v) shared_.scales[stage][1][fresh_thread()] = 1;
  }

  __device__ void attend(Rows& rows, const TileCursor& now, int stage) {
    const PrefillGroup& group = p_.groups[now.group];
    if (group.weighed) {
      attend_tile<true>(rows, group, now.begin, stage);
    } else {
      attend_tile<false>(rows, group, now.begin, stage);
    }
  }

  // Logits of part 0, logits of part 1 among the exponentials of part 0, values of part 0 among the
  // exponentials of part 1, values of part 1.
  template <bool kWeighed>
  __device__ void attend_tile(Rows& rows, const PrefillGroup& group, int begin, int stage) {
    constexpr int kPart = Rows::kPartSlots;
    const __nv_bfloat16* q = shared_.q + threadIdx.x / 32 * (16 * kRowTiles * kHeadDim);
    const __nv_bfloat16* k = shared_.stages[stage][0];
    const __nv_bfloat16* v = shared_.stages[stage][1];
    const float* scales = shared_.scales[stage][1];
    const float factor = p_.scale_log2;
    const auto nothing = [](int, int) {};
    typename Rows::Scores scores[2];
    typename Rows::Weights weights[2];
    Rows::multiply_keys(q, k, scores[0], nothing);
    prepare<kWeighed>(scores[0], group, begin, stage, 0);
    rows.follow(scores[0], factor, nullptr);
    Rows::multiply_keys(q, k + kPart * kHeadDim, scores[1], [&](int step, int steps) {
      rows.template soften<kWeighed>(scores[0], factor, scales, step, steps, weights[0]);
    });
    prepare<kWeighed>(scores[1], group, begin + kPart, stage, kPart);
    rows.follow(scores[1], factor, &weights[0]);
    rows.add_values(weights[0], v, [&](int step, int steps) {
      rows.template soften<kWeighed>(scores[1], factor, scales + kPart, step, steps, weights[1]);
    });
    rows.add_values(weights[1], v + kPart * kHeadDim, nothing);
  }

  // Scales, weights and masks of a part of a tile: slots from `begin` on, `first` in the tile.
  template <bool kWeighed>
  __device__ void prepare(typename Rows::Scores& scores, const PrefillGroup& group, int begin,
                          int stage, int first) const {
    if constexpr (kWeighed) {
      Rows::weigh_slots(scores, shared_.scales[stage][0] + first, shared_.bias[stage] + first);
    }
    // Readable by all rows: slots from where the last row's window begins to the first row's own.
    if (begin >= group.newest + shared_.item.last_row - group.window + 1 &&
        begin + Rows::kPartSlots <= min(group.count, group.newest + shared_.item.first_row + 1)) {
      return;
    }
    const int warp_row = threadIdx.x / 32 * (16 * kRowTiles);
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
      const int64_t block_row = shared_.item.row_begin + shared_.block_row[row];
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
