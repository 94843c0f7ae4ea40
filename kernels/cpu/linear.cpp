#include "kernels/cpu/linear.h"

#include <algorithm>

namespace kvg::cpu {
namespace {

// Enough tiles for many cores, each large enough for the library's inner kernel to run at full
// speed (256 x 256 x 256 reaches 97 % of it). With few rows the product is bound by reading W: a
// tile of W then stays in the second-level cache while every row passes over it.
constexpr int64_t kTileRows = 256;
constexpr int64_t kTileColumns = 256;
constexpr int64_t kFewRows = 64;
constexpr int64_t kTileColumnsFewRows = 64;

}  // namespace

void linear(const LinearParams& p, Team& team) {
  const int64_t rows = p.x.size(0);
  const int64_t inputs = p.x.size(1);
  const int64_t outputs = p.weight.size(0);
  const int64_t tile_columns = rows <= kFewRows ? kTileColumnsFewRows : kTileColumns;
  const int64_t row_tiles = (rows + kTileRows - 1) / kTileRows;
  const int64_t column_tiles = (outputs + tile_columns - 1) / tile_columns;
  const float* x = p.x.as<float>();
  const float* weight = p.weight.as<float>();
  const float* bias = p.bias ? p.bias.as<float>() : nullptr;
  float* out = p.out.as<float>();
  const double work = 2.0 * static_cast<double>(rows * inputs) * static_cast<double>(outputs);
  // Neighbouring tiles share their rows of W, which is the larger operand in decode.
  team.for_each(row_tiles * column_tiles, work, [&](Worker& worker, int64_t tile) {
    const int64_t row = tile % row_tiles * kTileRows;
    const int64_t column = tile / row_tiles * tile_columns;
    const int64_t m = std::min(kTileRows, rows - row);
    const int64_t n = std::min(tile_columns, outputs - column);
    float* corner = out + row * outputs + column;
    for (int64_t r = 0; bias != nullptr && r < m; ++r) {
      std::copy_n(bias + column, n, corner + r * outputs);
    }
    worker.blas.multiply_transposed(m, n, inputs, x + row * inputs, inputs,
                                    weight + column * inputs, inputs, bias != nullptr, corner,
                                    outputs);
  });
}

}  // namespace kvg::cpu
