#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"
#include "kernels/cuda/attention/prefill_sm90_write.cuh"
#include "kernels/cuda/hopper/wgmma.cuh"

#include <cmath>
#include <cstdint>

namespace kvg::cuda {

// A multiplying warpgroup: 64 packed rows of every item. The products of a tile's keys are under
// way beside those of the values before it, and warpgroups take turns on the tensor cores, so that
// one works out exponentials while another multiplies.
//
// A thread has two rows, r = 16 w + l / 4 of warp w and lane l, and r + 8; with two streams these
// are the streams of one unit (query row and head), and the difference never leaves the thread.
//
// Work says which items there are, where their rows come from and what is masked:
//   begin()             waits for the next item; whether there is one
//   start()             that item becomes the one that rows are asked of
//   first_tile(), next_tile()  of the item that begin() found becomes the present one; its keys are
//                       there
//   follows(adjusted)   whether weights of a tile follow its highest score (kMostSum)
//   last(), adjusted()  of the present tile: the item's last, something to adjust in its scores
//   kSplits, split(), own_tile()  where there are kTileSplit tiles: the present one is the first of
//                       them, and the one for this warpgroup, whose keys are there, becomes present
//   adjust(scores)      of the present tile
//   tile_done()         nobody asks about the present tile any more; of tiles that are split, once
//                       for each
//   real(row), vector(row)  of the thread's row 0 or 1: whether there is such a row, and the query
//                       row and head, of [rows, heads] of the call
//   finish()            nobody asks about the item any more
//   give_back_slots(barrier)  the warp is done with a stage of K or V
template <typename Work>
class HopperConsumer {
 public:
  using Tile = typename Work::Tile;
  using Shared = typename Work::Shared;

  __device__ HopperConsumer(const typename Work::Launch& p, Shared& shared, int group)
      : p_(p.attention), shared_(shared), group_(group), work_(p, shared, group) {}

  __device__ void run() {
    if (group_ == Tile::kConsumers - 1) pass_turn();  // the first warpgroup begins
    for (bool more = begin_item(); more;) {
      prepare();
      first_tile();
#pragma unroll 1
      while (!work_.last()) next_tile();
      if constexpr (!Tile::kQueriesInRegisters) give_back_queries();
      const bool split = is_split();
      // The next item's first products are under way while this one's result is written.
      issue_last_values(split);
      more = begin_item();
      finish_last_values(split);
      HopperWriter<Work>(p_, work_, out_).write(sum_, shift_, lambda_);
      work_.finish();
    }
    hopper::wait_for_products<0>();
  }

 private:
  static constexpr int kHeadDim = Tile::kHeadDim;
  static constexpr uint32_t kSlotPanelBytes = Tile::kSlots * 128;
  // Weights are relative to a score that the row has had, which follows the highest one only when
  // that is 2^8 times as high: rescaling is rare, and bf16 weights of any size are as precise.
  static constexpr float kSlack = 8;
  // Where Work::follows() does not say so, nobody looks for a tile's highest score, which is a
  // fifth of a warp's instructions and what exponentials would wait for, unless a thread's weights
  // of it add up to more than this.
  static constexpr float kMostSum = 0x1p60f;

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

  __device__ __forceinline__ bool is_split() const {
    if constexpr (Work::kSplits) {
      return work_.split();
    } else {
      return false;
    }
  }
  // Where the own one of tiles lies that are split; `place` is that of the first.
  __device__ __forceinline__ RingPlace<Tile::kStages> own_place(RingPlace<Tile::kStages> place,
                                                                bool split) const {
    if constexpr (Work::kSplits) {
      for (int i = 0; split && i < group_; ++i) place.advance();
    }
    return place;
  }
  // Done with a tile, or with as many as are split, of which others must have come before this
  // warp may say that it does not want them.
  template <typename Function>
  __device__ __forceinline__ void give_back_slots(RingPlace<Tile::kStages>& place, uint64_t* full,
                                                  uint64_t* empty, bool split,
                                                  const Function& done) {
    if constexpr (Work::kSplits) {
#pragma unroll 1
      for (int i = 1; split && i < Tile::kConsumers; ++i) {
        hopper::wait(&full[place.stage], place.parity);
        work_.give_back_slots(&empty[place.stage]);
        place.advance();
        done();
      }
      if (split) hopper::wait(&full[place.stage], place.parity);
    }
    work_.give_back_slots(&empty[place.stage]);
    place.advance();
    done();
  }

  // Issues the products of the next item's queries with its first keys. Returns false if there is
  // none: they are then of whatever the stage holds, and nobody reads them, because registers of
  // products under way must not depend on a branch.
  __device__ __forceinline__ bool begin_item() {
    const bool some = work_.begin();
    if (some) {
      hopper::wait(&shared_.q_full[queries_.stage], queries_.parity);
      if constexpr (Tile::kQueriesInRegisters) {
        load_queries(lane(), 0, kHeadDim / 16);
        give_back_queries();
      }
      hopper::wait(&shared_.k_full[keys_.stage], keys_.parity);
      work_.first_tile();
    }
    hopper::pin_registers(score_);
    hopper::begin_products();
    multiply_keys(keys_.stage);
    return some;
  }

  __device__ __forceinline__ void prepare() {
    work_.start();
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      // Finite, so that rows that read nothing never subtract infinities.
      shift_[row] = -1e30f * p_.scale_log2;
      sum_[row] = 0;
    }
    // Early: nobody waits for it at the end.
    if constexpr (Tile::kStreams == 2) lambda_ = p_.lambda[work_.vector(0)];
  }

  __device__ __forceinline__ void give_back_queries() {
    give_back(&shared_.q_empty[queries_.stage]);
    queries_.advance();
  }
  // Fragments [begin, end).
  __device__ __forceinline__ void load_queries(int lane, int begin, int end) {
    const int row = 64 * group_ + 16 * warp() + lane % 16;
#pragma unroll
    for (int step = begin; step < end; ++step) {
      const uint32_t panel = hopper::shared_u32(shared_.q[queries_.stage][step / 4]);
      ldmatrix_x4(q_[step], panel + panel_chunk(row, step % 4 * 2 + lane / 16));
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

  __device__ __forceinline__ void first_tile() {
    hopper::wait_for_products<0>();
    hopper::pin_registers(score_);
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) out_[i] = 0;
    tile_sum_[0] = tile_sum_[1] = 0;
    if (work_.adjusted()) work_.adjust(score_);
    give_back_keys(false);  // not split
    follow_top();
    weigh<0>();
    pack_weights<0>();
    weigh<1>();
    pack_weights<1>();
    add_sums();
  }

  // The common tile has nothing to adjust; its code is in one piece.
  __device__ __forceinline__ void next_tile() {
    hopper::wait(&shared_.k_full[keys_.stage], keys_.parity);
    work_.next_tile();
    if (!work_.adjusted()) {
      step<false>(keys_.stage);
      return;
    }
    int keys = keys_.stage;
    if constexpr (Work::kSplits) {
      if (work_.split()) {
        const RingPlace<Tile::kStages> own = own_place(keys_, true);
        hopper::wait(&shared_.k_full[own.stage], own.parity);
        work_.own_tile();
        keys = own.stage;
      }
    }
    step<true>(keys);
  }

  // Half of the weights are packed while exponentials of the others are worked out.
  template <bool kAdjusted>
  __device__ __forceinline__ void step(int keys) {
    constexpr bool kFollows = Work::follows(kAdjusted);
    take_turn();
    hopper::pin_registers(score_);
    hopper::pin_registers(out_);
    hopper::pin_registers(weight_);
    hopper::begin_products();
    multiply_keys(keys);
    hopper::wait(&shared_.v_full[values_.stage], values_.parity);
    multiply_values(values_.stage);
    pass_turn();
    hopper::wait_for_products<1>();
    hopper::pin_registers(score_);
    tile_sum_[0] = tile_sum_[1] = 0;
    if constexpr (kAdjusted) work_.adjust(score_);
    if constexpr (kFollows) {
      give_back_keys(kAdjusted && is_split());
      follow_top();
    }
    weigh<0>();
    hopper::wait_for_products<0>();
    hopper::pin_registers(out_);
    hopper::pin_registers(weight_);
    work_.give_back_slots(&shared_.v_empty[values_.stage]);
    values_.advance();
    pack_weights<0>();
    weigh<1>();
    if constexpr (kFollows) {
      rescale();
    } else {
      if (__any_sync(0xffffffffu, tile_sum_[0] > kMostSum || tile_sum_[1] > kMostSum)) {
        multiply_keys_by_warp(keys);
        if constexpr (kAdjusted) work_.adjust(score_);
        tile_sum_[0] = tile_sum_[1] = 0;
        follow_top();
        weigh<0>();
        pack_weights<0>();
        weigh<1>();
        rescale();
      }
      give_back_keys(kAdjusted && is_split());
    }
    pack_weights<1>();
    add_sums();
  }

  __device__ __forceinline__ void issue_last_values(bool split) {
    const RingPlace<Tile::kStages> own = own_place(values_, split);
    hopper::wait(&shared_.v_full[own.stage], own.parity);
    hopper::pin_registers(out_);
    hopper::pin_registers(weight_);
    hopper::begin_products();
    multiply_values(own.stage);
  }
  __device__ __forceinline__ void finish_last_values(bool split) {
    hopper::wait_for_products<1>();  // all but the next item's
    hopper::pin_registers(out_);
    give_back_slots(values_, shared_.v_full, shared_.v_empty, split, [] {});
  }

  __device__ __forceinline__ void give_back_keys(bool split) {
    give_back_slots(keys_, shared_.k_full, shared_.k_empty, split, [&] { work_.tile_done(); });
  }

  // Scores of the tile once more, by a warp on its own. Rare, so that registers count and time does
  // not: eight slots at a time, which move through the array.
  __device__ __forceinline__ void multiply_keys_by_warp(int stage) {
    int lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));  // nothing of it is worked out before
    const uint32_t keys = hopper::shared_u32(shared_.k[stage]);
#pragma unroll 1
    for (int slot = 0; slot < Tile::kSlots; slot += 8) {
      float sums[4] = {};
#pragma unroll
      for (int pair = 0; pair < kHeadDim / 32; ++pair) {
        uint32_t k[4];
        const uint32_t panel = keys + pair / 2 * kSlotPanelBytes;
        if constexpr (!Tile::kQueriesInRegisters) load_queries(lane, 2 * pair, 2 * pair + 2);
        ldmatrix_x4(k, panel + panel_chunk(slot + lane % 8, pair % 2 * 4 + lane / 8));
        mma_m16n8k16(sums, q_[2 * pair], k[0], k[1]);
        mma_m16n8k16(sums, q_[2 * pair + 1], k[2], k[3]);
      }
#pragma unroll
      for (int i = 4; i < Tile::kSlots / 2; ++i) score_[i - 4] = score_[i];
#pragma unroll
      for (int i = 0; i < 4; ++i) score_[Tile::kSlots / 2 - 4 + i] = sums[i];
    }
  }

  // Looks for the highest scores.
  __device__ __forceinline__ void follow_top() {
    constexpr int kTiles = Tile::kSlots / 8;
    // Both rows side by side, because a warp is alone with its latencies here.
    float top[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        top[row] = fmaxf(top[row], fmaxf(score_[4 * i + 2 * row], score_[4 * i + 2 * row + 1]));
      }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float high = fmaxf(top[row], __shfl_xor_sync(0xffffffffu, top[row], 1));
      high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, 2));
      high *= p_.scale_log2;
      if (high - shift_[row] <= kSlack) high = shift_[row];
      shrink_[row] = exp2_approx(shift_[row] - high);
      sum_[row] *= shrink_[row];
      shift_[row] = high;
    }
  }

  // Scores of half a tile to weights, and their sums.
  template <int kHalf>
  __device__ __forceinline__ void weigh() {
    constexpr int kTiles = Tile::kSlots / 16;
#pragma unroll
    for (int i = kHalf * kTiles; i < (kHalf + 1) * kTiles; ++i) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        float& a = score_[4 * i + 2 * row];
        float& b = score_[4 * i + 2 * row + 1];
        a = exp2_approx(fmaf(a, p_.scale_log2, -shift_[row]));
        b = exp2_approx(fmaf(b, p_.scale_log2, -shift_[row]));
        tile_sum_[row] += a + b;
      }
    }
  }
  template <int kHalf>
  __device__ __forceinline__ void pack_weights() {
    constexpr int kPairs = Tile::kSlots / 8;
#pragma unroll
    for (int i = kHalf * kPairs; i < (kHalf + 1) * kPairs; ++i) {
      weight_[i / 4][i % 4] = pack_bf16(score_[2 * i], score_[2 * i + 1]);
    }
  }
  __device__ __forceinline__ void add_sums() {
    sum_[0] += tile_sum_[0];
    sum_[1] += tile_sum_[1];
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

  const PrefillLaunch& p_;
  Shared& shared_;
  const int group_;
  Work work_;
  RingPlace<Tile::kQueryStages> queries_;
  RingPlace<Tile::kStages> keys_;
  RingPlace<Tile::kStages> values_;

  uint32_t q_[kHeadDim / 16][4];  // fragments of 16 columns
  float score_[Tile::kSlots / 2];
  uint32_t weight_[Tile::kSlots / 16][4];  // fragments of 16 slots
  float out_[kHeadDim / 2];
  float shift_[2];  // what weights are relative to, as scaled scores
  float sum_[2], tile_sum_[2], shrink_[2];
  float lambda_ = 0;
};

}  // namespace kvg::cuda
