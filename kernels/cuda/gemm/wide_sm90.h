#pragma once

#include "kernels/dtype.h"

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

// Products of some hundred rows on Hopper: out = x W^T (+ bias), or the feed-forward's
// silu(x G^T) * (x U^T) in one.
//
// A tile of out is all rows by some columns, so that W is read once. W is the product's A, 64 of
// its rows a warpgroup, and x its B, whose width is the number of rows rounded up. The two thread
// blocks of a cluster take neighbouring tiles over the same columns of W, so that each brings half
// of x and the copy engine gives it to both.
//
// Results repeat bit for bit: parts of a sum are added in the order of columns.
namespace kvg::cuda {

inline constexpr int64_t kWideMaxRows = 256;
inline constexpr int64_t kWideMaxGatedRows = 128;          // gated_sm90.h is for more
inline constexpr int64_t kWideMaxSide = int64_t{1} << 20;  // of W

// How a product is cut for the device.
struct WideLayout {
  int tile_rows =
      128;         // of W, 80 to 128 in steps of 16: as many as make whole rounds of all blocks
  int splits = 1;  // clusters that share a tile's columns: 1, 2 or 4
};

struct WideLaunch {
  const void* x = nullptr;       // [rows, in] bf16, 16-byte aligned
  const void* weight = nullptr;  // [out, in] bf16, 16-byte aligned; gated: [2 * out, in], G then U
  const void* bias = nullptr;    // [out] bf16 or null; not gated
  void* result = nullptr;        // [rows, out] bf16 or f32, 16-byte aligned; gated: bf16
  int64_t rows = 0;              // 1..256; gated: 1..128
  int64_t in = 0;                // a multiple of 8
  int64_t out = 0;               // a multiple of 8
  DType result_type = DType::bf16;
  bool gated = false;
  void* counters = nullptr;  // kWideCounterBytes, zero before the launch and after it
  void* parts = nullptr;     // kWidePartsBytes
  WideLayout layout;
};

// Whether launch() can serve these shapes.
constexpr bool wide_serves(int64_t rows, int64_t in, int64_t out) {
  return rows >= 1 && rows <= kWideMaxRows && in > 0 && in <= kWideMaxSide && in % 8 == 0 &&
         out > 0 && out <= kWideMaxSide / 2 && out % 8 == 0;
}

// The layout for x [rows, in] and W [weight_rows, in] on so many multiprocessors.
WideLayout wide_layout(int64_t rows, int64_t weight_rows, int64_t in, int multiprocessors);

inline constexpr int kWideMaxBlocks = 144;  // that share sums
inline constexpr size_t kWideCounterBytes = size_t{kWideMaxBlocks} * 2 * 2 * 4;
inline constexpr size_t kWidePartsBytes = size_t{kWideMaxBlocks} * 128 * kWideMaxRows * 4;

// Overlaps the launch before it, which may write x but not W. Needs compute capability 9.0. Where
// the blocks of layout.splits would not all run at once, and for results in f32, which there would
// be no registers for, tiles are not split.
cudaError_t launch(const WideLaunch& params, cudaStream_t stream);

inline int64_t bytes(const WideLaunch& p) {
  const int64_t weights = (p.gated ? 2 : 1) * p.out * p.in;
  return 2 * (weights + p.rows * p.in + (p.bias != nullptr ? p.out : 0)) +
         static_cast<int64_t>(dtype_size(p.result_type)) * p.rows * p.out;
}
inline int64_t flops(const WideLaunch& p) {
  return 2 * (p.gated ? 2 : 1) * p.rows * p.out * p.in + (p.gated ? 5 * p.rows * p.out : 0);
}

}  // namespace kvg::cuda
