#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_sm90_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"
#include "kernels/cuda/hopper/wgmma.cuh"

#include <cstdint>

namespace kvg::cuda {

// A multiplying warpgroup: 64 packed rows of every item. The products of a tile's keys are under
// way beside those of the values before it, and warpgroups take turns on the tensor cores, so that
// one works out exponentials while another multiplies.
//
// A thread has two rows, r = 16 w + l / 4 of warp w and lane l, and r + 8; with two streams these
// are the streams of one unit (query row and head), and the difference never leaves the thread.
template <typename Tile>
class HopperConsumer {
 public:
  using Shared = HopperShared<Tile>;

  __device__ HopperConsumer(const HopperPrefillLaunch& p, Shared& shared, int group)
      : launch_(p), p_(p.attention), shared_(shared), group_(group) {}

  __device__ void run() {
    if (group_ == Tile::kConsumers - 1) pass_turn();  // the first warpgroup begins
    uint32_t flags = 0;
    for (bool more = begin_item(&flags); more;) {
      const HopperItem& item = shared_.items[items_.stage];
      prepare(item);
      first_tile(flags);
#pragma unroll 1
      while ((flags & kTileLast) == 0) flags = next_tile();
      if constexpr (!Tile::kQueriesInRegisters) give_back_queries();
      // The next item's first products are under way while this one's result is written.
      issue_last_values();
      const int stage = items_.stage;
      items_.advance();
      more = begin_item(&flags);
      finish_last_values();
      write(item);
      give_back(&shared_.item_empty[stage]);
    }
    hopper::wait_for_products<0>();
  }

 private:
  static constexpr int kHeadDim = Tile::kHeadDim;
  static constexpr uint32_t kSlotPanelBytes = Tile::kSlots * 128;
  static constexpr float kMaskedScore = -1e33f;
  // Sums are kept relative to a maximum that follows the true one only when that is more than 2^8
  // higher: rescaling is rare, and bf16 weights up to 2^8 are as precise.
  static constexpr float kSlack = 8;

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32 % 4; }

  // All lanes of the warp are done with what the barrier guards.
  __device__ static void give_back(uint64_t* barrier) {
    __syncwarp();
    if (lane() == 0) hopper::arrive(barrier);
  }
  __device__ void take_turn() { hopper::named_barrier_wait(1 + group_, 256); }
  __device__ void pass_turn() {
    hopper::named_barrier_arrive(1 + (group_ + 1 == Tile::kConsumers ? 0 : group_ + 1), 256);
  }

  // Unit of the thread's row 0 or 1.
  __device__ int unit(const HopperItem& item, int row) const {
    const int first = 64 * group_ + 16 * warp();
    if constexpr (Tile::kStreams == 2) return item.first_unit + first / 2 + lane() / 4;
    return item.first_unit + first + lane() / 4 + 8 * row;
  }

  // The query row and head of the thread's row 0 or 1, of [rows, heads] of the call; beyond the
  // last unit, those of the last.
  __device__ int64_t vector(const HopperItem& item, int row) const {
    const int at = min(unit(item, row), item.units - 1);
    const int head =
        item.kv_head * launch_.group_heads + at - block_row_[row] * launch_.group_heads;
    return static_cast<int64_t>(item.row_begin + block_row_[row]) * p_.heads + head;
  }

  // Issues the products of the next item's queries with its first keys. Returns false if there is
  // none: they are then of whatever the stage holds, and nobody reads them, because registers of
  // products under way must not depend on a branch.
  __device__ __forceinline__ bool begin_item(uint32_t* flags) {
    hopper::wait(&shared_.item_full[items_.stage], items_.parity);
    const bool some = shared_.items[items_.stage].kv_head >= 0;
    if (some) {
      hopper::wait(&shared_.q_full[queries_.stage], queries_.parity);
      if constexpr (Tile::kQueriesInRegisters) {
        load_queries();
        give_back_queries();
      }
      hopper::wait(&shared_.k_full[keys_.stage], keys_.parity);
      *flags = shared_.infos[infos_.stage].flags;
    }
    hopper::pin_registers(score_);
    hopper::begin_products();
    multiply_keys(keys_.stage);
    return some;
  }

  __device__ __forceinline__ void prepare(const HopperItem& item) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      block_row_[row] = row_of_unit(launch_, min(unit(item, row), item.units - 1));
      top_[row] = -1e30f;  // finite, so that rows that read nothing never subtract infinities
      sum_[row] = 0;
    }
    // Early: nobody waits for it at the end.
    if constexpr (Tile::kStreams == 2) lambda_ = p_.lambda[vector(item, 0)];
  }

  __device__ __forceinline__ void give_back_queries() {
    give_back(&shared_.q_empty[queries_.stage]);
    queries_.advance();
  }
  __device__ __forceinline__ void load_queries() {
    const int row = 64 * group_ + 16 * warp() + lane() % 16;
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const uint32_t panel = hopper::shared_u32(shared_.q[queries_.stage][step / 4]);
      ldmatrix_x4(q_[step], panel + panel_chunk(row, step % 4 * 2 + lane() / 16));
    }
  }

  __device__ __forceinline__ void multiply_keys(int stage) {
    const hopper::DescriptorLow keys = hopper::along_columns(hopper::shared_u32(shared_.k[stage]));
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const uint32_t at = step / 4 * kSlotPanelBytes + step % 4 * 32;
      const uint64_t k = hopper::descriptor(hopper::offset_by(keys, at));
      if constexpr (Tile::kQueriesInRegisters) {
        hopper::multiply_columns(score_, q_[step], k, step > 0);
      } else {
        const hopper::DescriptorLow rows = hopper::along_columns(
            hopper::shared_u32(shared_.q[queries_.stage][step / 4][64 * group_]));
        hopper::multiply_columns(score_, hopper::descriptor(hopper::offset_by(rows, step % 4 * 32)),
                                 k, step > 0);
      }
    }
    hopper::commit_products();
  }
  __device__ __forceinline__ void multiply_values(int stage) {
    const hopper::DescriptorLow values =
        hopper::along_rows(hopper::shared_u32(shared_.v[stage]), kSlotPanelBytes);
#pragma unroll
    for (int step = 0; step < Tile::kSlots / 16; ++step) {
      hopper::multiply_rows(out_, weight_[step],
                            hopper::descriptor(hopper::offset_by(values, step * 2048)), true);
    }
    hopper::commit_products();
  }

  __device__ __forceinline__ void first_tile(uint32_t flags) {
    hopper::wait_for_products<0>();
    hopper::pin_registers(score_);
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) out_[i] = 0;
    finish_keys(flags);
    exponentiate();
    pack_weights();
  }

  // The common tile has nothing to adjust; its code is in one piece.
  __device__ __forceinline__ uint32_t next_tile() {
    hopper::wait(&shared_.k_full[keys_.stage], keys_.parity);
    const uint32_t flags = shared_.infos[infos_.stage].flags;
    if ((flags & kTileAdjusted) == 0) {
      step(0);
    } else {
      step(flags);
    }
    return flags;
  }

  __device__ __forceinline__ void step(uint32_t flags) {
    take_turn();
    hopper::pin_registers(score_);
    hopper::pin_registers(out_);
    hopper::pin_registers(weight_);
    hopper::begin_products();
    multiply_keys(keys_.stage);
    hopper::wait(&shared_.v_full[values_.stage], values_.parity);
    multiply_values(values_.stage);
    pass_turn();
    hopper::wait_for_products<1>();
    hopper::pin_registers(score_);
    finish_keys(flags);
    exponentiate();
    hopper::wait_for_products<0>();
    hopper::pin_registers(out_);
    hopper::pin_registers(weight_);
    give_back(&shared_.v_empty[values_.stage]);
    values_.advance();
    pack_weights();
    rescale();
  }

  __device__ __forceinline__ void issue_last_values() {
    hopper::wait(&shared_.v_full[values_.stage], values_.parity);
    hopper::pin_registers(out_);
    hopper::pin_registers(weight_);
    hopper::begin_products();
    multiply_values(values_.stage);
  }
  __device__ __forceinline__ void finish_last_values() {
    hopper::wait_for_products<1>();  // all but the next item's
    hopper::pin_registers(out_);
    give_back(&shared_.v_empty[values_.stage]);
    values_.advance();
  }

  // Scores are there: masks and weights, and the stage is free.
  __device__ __forceinline__ void finish_keys(uint32_t flags) {
    if ((flags & kTileAdjusted) != 0) adjust(flags);
    give_back(&shared_.k_empty[keys_.stage]);
    keys_.advance();
    infos_.advance();
  }

  __device__ __forceinline__ void adjust(uint32_t flags) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      constexpr int kTiles = Tile::kHalfSlots / 8;
      float* scores = score_ + half * (4 * kTiles);
      if ((flags & kTileBiased << half) != 0) {
        const float* bias = shared_.bias[keys_.stage] + half * Tile::kHalfSlots + lane() % 4 * 2;
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          const float2 pair = *reinterpret_cast<const float2*>(bias + 8 * i);
          scores[4 * i] += pair.x;
          scores[4 * i + 1] += pair.y;
          scores[4 * i + 2] += pair.x;
          scores[4 * i + 3] += pair.y;
        }
      }
      if ((flags & kTileMasked << half) != 0) {
        const HopperHalf& part = shared_.infos[infos_.stage].halves[half];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          // Slots [begin, end) of the half are read by the row.
          const int newest = part.newest + block_row_[row];
          const int end = min(part.count, newest + 1);
          const int begin = max(0, newest + 1 - part.window);
          const auto readable = static_cast<uint32_t>(max(end - begin, 0));
          const int first = lane() % 4 * 2 - begin;
#pragma unroll
          for (int i = 0; i < kTiles; ++i) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
              if (static_cast<uint32_t>(first + 8 * i + j) >= readable) {
                scores[4 * i + 2 * row + j] = kMaskedScore;
              }
            }
          }
        }
      }
    }
  }

  // Scores to weights relative to the running maximum. Both rows side by side, because a warp is
  // alone with its latencies here.
  __device__ __forceinline__ void exponentiate() {
    constexpr int kTiles = Tile::kSlots / 8;
    float top[2] = {top_[0], top_[1]};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        top[row] = fmaxf(top[row], fmaxf(score_[4 * i + 2 * row], score_[4 * i + 2 * row + 1]));
      }
    }
    float shift[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float high = fmaxf(top[row], __shfl_xor_sync(0xffffffffu, top[row], 1));
      high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, 2));
      if ((high - top_[row]) * p_.scale_log2 <= kSlack) high = top_[row];
      shrink_[row] = exp2_approx((top_[row] - high) * p_.scale_log2);
      top_[row] = high;
      shift[row] = high * p_.scale_log2;
    }
    float sum[2] = {};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        float& a = score_[4 * i + 2 * row];
        float& b = score_[4 * i + 2 * row + 1];
        a = exp2_approx(fmaf(a, p_.scale_log2, -shift[row]));
        b = exp2_approx(fmaf(b, p_.scale_log2, -shift[row]));
        sum[row] += a + b;
      }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) sum_[row] = sum_[row] * shrink_[row] + sum[row];
  }
  __device__ __forceinline__ void pack_weights() {
#pragma unroll
    for (int i = 0; i < Tile::kSlots / 4; ++i) {
      weight_[i / 4][i % 4] = pack_bf16(score_[2 * i], score_[2 * i + 1]);
    }
  }
  __device__ __forceinline__ void rescale() {
    if (!__any_sync(0xffffffffu, shrink_[0] != 1 || shrink_[1] != 1)) return;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
      out_[4 * i] *= shrink_[0];
      out_[4 * i + 1] *= shrink_[0];
      out_[4 * i + 2] *= shrink_[1];
      out_[4 * i + 3] *= shrink_[1];
    }
  }

  __device__ __forceinline__ static float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
  }

  __device__ __forceinline__ void write(const HopperItem& item) {
    float inverse[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float sum = quad_sum(sum_[row]);
      inverse[row] = sum == 0 ? 0 : 1 / sum;
      write_log_sum(item, row, sum);
    }
    if constexpr (Tile::kStreams == 2) {
      const float second = lambda_ * inverse[1];
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          out_[4 * i + j] = out_[4 * i + j] * inverse[0] - out_[4 * i + 2 + j] * second;
        }
      }
      write_row(item, 0);
    } else {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
#pragma unroll
        for (int i = 0; i < kHeadDim / 8; ++i) {
          out_[4 * i + 2 * row] *= inverse[row];
          out_[4 * i + 2 * row + 1] *= inverse[row];
        }
        write_row(item, row);
      }
    }
  }

  // Of the thread's row: out_[4 i + 2 row + {0, 1}].
  __device__ __forceinline__ void write_row(const HopperItem& item, int row) {
    if (p_.head_norm != nullptr) normalize(row);
    if (unit(item, row) >= item.units) return;
    auto* out = static_cast<__nv_bfloat16*>(p_.out) + vector(item, row) * kHeadDim + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
      *reinterpret_cast<uint32_t*>(out + 8 * i) =
          pack_bf16(out_[4 * i + 2 * row], out_[4 * i + 2 * row + 1]);
    }
  }
  __device__ __forceinline__ void normalize(int row) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float x = out_[4 * i + 2 * row + j];
        squares += x * x;
      }
    }
    const float factor = rsqrtf(quad_sum(squares) / kHeadDim + p_.head_norm_eps);
    const auto* weight = static_cast<const __nv_bfloat16*>(p_.head_norm) + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        out_[4 * i + 2 * row + j] *= factor * __bfloat162float(weight[8 * i + j]);
      }
    }
  }

  // Natural logarithm of the sum of exponentials, -infinity for a row that reads nothing.
  __device__ __forceinline__ void write_log_sum(const HopperItem& item, int row, float sum) {
    if (p_.log_sum == nullptr || lane() % 4 != 0) return;
    if (unit(item, row) >= item.units) return;
    const int64_t at = vector(item, row);  // its streams are p_.heads apart
    const int64_t place = Tile::kStreams == 2 ? at + (at / p_.heads + row) * p_.heads : at;
    constexpr float kLog2 = 0.693147181f;
    p_.log_sum[place] = (top_[row] * p_.scale_log2 + __log2f(sum)) * kLog2;
  }

  const HopperPrefillLaunch& launch_;
  const PrefillLaunch& p_;
  Shared& shared_;
  const int group_;
  RingPlace<Tile::kItems> items_;
  RingPlace<Tile::kQueryStages> queries_;
  RingPlace<Tile::kStages> keys_, values_;
  RingPlace<Tile::kInfos> infos_;

  uint32_t q_[kHeadDim / 16][4];  // fragments of 16 columns
  float score_[Tile::kSlots / 2];
  uint32_t weight_[Tile::kSlots / 16][4];  // fragments of 16 slots
  float out_[kHeadDim / 2];
  float top_[2], sum_[2], shrink_[2];
  int block_row_[2];
  float lambda_ = 0;
};

}  // namespace kvg::cuda
