#pragma once

#include "kernels/dtype.h"

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

// The feed-forward's out = silu(x G^T) * (x U^T) on Hopper, for some 200 to 256 rows of x.
//
// A tile of out is all rows by some columns, gates and ups at once; a thread block has one tile,
// whose sums fill the registers of the multiprocessor. x is the product's A, as many rows of G and
// of U its B. At these rows the tiles of wide_sm90.h are held up by shared memory, of which they
// read and write 127 bytes a cycle at the full rate of the tensor cores (128 is the most), and by
// the second-level cache, of which they read 31; these need 116 and 25. The two thread blocks of a
// cluster share x as theirs do.
namespace kvg::cuda {

inline constexpr int64_t kGatedMostRows = 256;
inline constexpr int64_t kGatedMostSide = int64_t{1} << 20;  // of G and U

struct GatedLaunch {
  const void* x = nullptr;       // [rows, in] bf16, 16-byte aligned
  const void* weight = nullptr;  // [2 * out, in] bf16, 16-byte aligned: G, then U
  void* result = nullptr;        // [rows, out] bf16, 16-byte aligned
  int64_t rows = 0;              // 1..256; fewer take as long
  int64_t in = 0;                // a multiple of 8
  int64_t out = 0;               // a multiple of 8
  int tile_columns = 112;        // of out: 88 or 112
};

// Whether launch() can serve these shapes.
constexpr bool gated_serves(int64_t rows, int64_t in, int64_t out) {
  return rows >= 1 && rows <= kGatedMostRows && in > 0 && in <= kGatedMostSide && in % 8 == 0 &&
         out > 0 && out <= kGatedMostSide && out % 8 == 0;
}

// The tile_columns that so many multiprocessors are through with first, or 0 where they would wait
// for each other too long.
int gated_tile_columns(int64_t out, int multiprocessors);

// Overlaps the launch before it, which may write x but not W. Needs compute capability 9.0.
cudaError_t launch(const GatedLaunch& params, cudaStream_t stream);

inline int64_t bytes(const GatedLaunch& p) {
  return 2 * (2 * p.out * p.in + p.rows * p.in + p.rows * p.out);
}
inline int64_t flops(const GatedLaunch& p) { return p.rows * p.out * (4 * p.in + 5); }

}  // namespace kvg::cuda
