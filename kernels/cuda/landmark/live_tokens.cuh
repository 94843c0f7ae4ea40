#pragma once

#include "kernels/cuda/landmark/live_products.cuh"
#include "kernels/cuda/landmark/live_ptx.cuh"
#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/scan.h"
#include "kernels/cuda/landmark/vectors.cuh"

#include <cstdint>

#include <cuda_bf16.h>

namespace kvg::cuda {

// Up to 16 tokens that leave together; of an eviction without tokens none.
struct LiveTile {
  int32_t row = 0;
  int32_t count = 0;
  int32_t snapshot = -1;  // taken after them
};

// The evictions of a scan, one after the other, to a warp: 32 of them are read at a time.
class LiveSteps {
 public:
  __device__ LiveSteps(const LandmarkScanStep* steps, int32_t count)
      : steps_(steps), count_(count) {}

  __device__ bool next(LandmarkScanStep& step) {
    if (at_ == count_) return false;
    const int32_t lane = at_ % 32;
    if (lane == 0 && at_ + lane_id() < count_) mine_ = steps_[at_ + lane_id()];
    step.begin = __shfl_sync(kWarp, mine_.begin, lane);
    step.end = __shfl_sync(kWarp, mine_.end, lane);
    step.snapshot = __shfl_sync(kWarp, mine_.snapshot, lane);
    ++at_;
    return true;
  }

 private:
  const LandmarkScanStep* steps_;
  int32_t count_;
  int32_t at_ = 0;
  LandmarkScanStep mine_;  // that of this lane
};

// Walks through the tiles of the evictions of a scan; one warp.
class LiveTiles {
 public:
  // `sinks`: tokens of lower positions are pinned, and in no tile.
  __device__ LiveTiles(const LandmarkScanLaunch& scan, int64_t sinks)
      : steps_(scan.steps, scan.step_count), first_(sinks - scan.first_position) {}

  __device__ bool next(LiveTile& tile) {
    if (!open_) {
      LandmarkScanStep step;
      if (!steps_.next(step)) return false;
      row_ = static_cast<int32_t>(min(max(int64_t{step.begin}, first_), int64_t{step.end}));
      end_ = step.end;
      snapshot_ = step.snapshot;
    }
    tile.row = row_;
    tile.count = min(kLiveTile, end_ - row_);
    row_ += tile.count;
    open_ = row_ < end_;
    tile.snapshot = open_ ? -1 : snapshot_;
    return true;
  }

 private:
  LiveSteps steps_;
  int64_t first_;  // row of the first token that is not pinned
  bool open_ = false;
  int32_t row_ = 0, end_ = 0, snapshot_ = -1;
};

// A lane's coordinates (kLaneWidth of them) as they are stored.
template <int kDim>
using LaneBits = LaneWords<uint16_t, kLaneWidth<kDim>>;

template <int kDim>
__device__ inline LaneBits<kDim> lane_bits(const void* vector) {
  return static_cast<const LaneBits<kDim>*>(vector)[lane_id()];
}

template <int kDim>
__device__ inline float lane_squares(const LaneBits<kDim>& x) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kLaneWidth<kDim>; ++i) {
    const float value = __uint_as_float(static_cast<uint32_t>(x.word[i]) << 16);
    squares = fmaf(value, value, squares);
  }
  return squares;
}

// A lane's coordinates in bf16.
template <int kDim>
__device__ inline LaneBits<kDim> round_lane(const LaneWords<float, kLaneWidth<kDim>>& x) {
  LaneBits<kDim> bits;
#pragma unroll
  for (int i = 0; i < kLaneWidth<kDim>; i += 2) {
    const uint32_t pair = pack_bf16(x.word[i], x.word[i + 1]);
    bits.word[i] = static_cast<uint16_t>(pair);
    bits.word[i + 1] = static_cast<uint16_t>(pair >> 16);
  }
  return bits;
}

// Where the lane's coordinates stand among the slow dimensions, -1: nowhere.
template <int kDim>
struct LaneBand {
  int16_t at[kLaneWidth<kDim>];
  bool together = true;  // for every lane: all of them side by side, or none

  __device__ LaneBand(const int32_t* slow_dims, int count) {
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) at[i] = -1;
#pragma unroll 4
    for (int d = 0; d < count; ++d) {
      const int dim = slow_dims[d] - lane_id() * kLaneWidth<kDim>;
#pragma unroll
      for (int i = 0; i < kLaneWidth<kDim>; ++i) {
        if (dim == i) at[i] = static_cast<int16_t>(d);
      }
    }
    together = at[0] < 0 || at[0] % kLaneWidth<kDim> == 0;
#pragma unroll
    for (int i = 1; i < kLaneWidth<kDim>; ++i) {
      together = together && at[i] == (at[0] < 0 ? -1 : at[0] + i);
    }
    together = __all_sync(kWarp, together);
  }

  // The lane's coordinates, in bf16, of a vector of which `row` has the slow ones; others are zero.
  __device__ LaneBits<kDim> expand(const float* row) const {
    LaneWords<float, kLaneWidth<kDim>> x{};
    if (together) {
      if (at[0] >= 0) x = *reinterpret_cast<const LaneWords<float, kLaneWidth<kDim>>*>(row + at[0]);
    } else {
#pragma unroll
      for (int i = 0; i < kLaneWidth<kDim>; ++i) {
        if (at[i] >= 0) x.word[i] = row[at[i]];
      }
    }
    return round_lane<kDim>(x);
  }
};

// The slow dimensions of a token's key into a row; returns 1 / max(norm, 1e-6) of them. One warp.
template <int kDim>
__device__ inline float store_key(const LaneBits<kDim>& x, const LaneBand<kDim>& band,
                                  __nv_bfloat16* row) {
  LaneBits<kDim> slow = x;
#pragma unroll
  for (int i = 0; i < kLaneWidth<kDim>; ++i) {
    if (band.at[i] < 0) {
      slow.word[i] = 0;
    } else if (!band.together) {
      row[band.at[i]] = __ushort_as_bfloat16(x.word[i]);
    }
  }
  if (band.together && band.at[0] >= 0) {
    *reinterpret_cast<LaneBits<kDim>*>(row + band.at[0]) = x;
  }
  return inverse_norm(warp_sum(lane_squares<kDim>(slow)));
}

// Starts to copy rows row(0) .. row(count - 1) of one head, `stride` elements apart in global
// memory, to rows `pitch` apart in shared memory; those from `count` up to a tile are zero. By
// kCopiers threads, that count from 0.
inline constexpr int kCopiers = 256;
template <int kDim, typename Row>
__device__ inline void copy_rows(const void* from, int64_t stride, int count, Row row,
                                 __nv_bfloat16* to, int pitch, int thread) {
  constexpr int kPieces = kDim / 8;  // of 16 bytes, of a row
  const auto* data = static_cast<const __nv_bfloat16*>(from);
  for (int i = thread; i < kLiveTile * kPieces; i += kCopiers) {
    const int token = i / kPieces;
    const int piece = 8 * (i % kPieces);
    const bool there = token < count;
    const int64_t at = there ? row(token) * stride : 0;
    cp_async_16(shared_u32(to + token * pitch + piece), data + at + piece, there ? 16 : 0);
  }
}

template <int kDim>
__device__ inline void store_row(const LaneBits<kDim>& x, __nv_bfloat16* row) {
  reinterpret_cast<LaneBits<kDim>*>(row)[lane_id()] = x;
}

// The tokens of a tile that go to the summary bank, one head: keys by their slow dimensions, rows
// kTokenStride apart.
struct SummaryTokenView {
  const __nv_bfloat16* keys;
  const __nv_bfloat16* values;
  const float* gate;  // [kLiveTile]
};
template <int kDim>
struct SummaryTokens {
  static constexpr int kKeyStride = kTokenStride<kDim / 2>;
  static constexpr int kValueStride = kTokenStride<kDim>;
  __nv_bfloat16 keys[kLiveTile * kKeyStride];
  __nv_bfloat16 values[kLiveTile * kValueStride];
  float inverse[kLiveTile];  // of the keys' norms
  alignas(16) float gate[kLiveTile];
};

// To the exact bank.
template <int kDim>
struct ExactTokens {
  __nv_bfloat16 values[kLiveTile * kTokenStride<kDim>];
  __nv_bfloat16 keys[kLiveTile * kTokenStride<kDim>];
  float inverse[kLiveTile];  // of the values' norms
};

}  // namespace kvg::cuda
