#pragma once

#include <cstdint>
#include <span>

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace kvg::cuda::hopper {

inline constexpr int kPanelColumns = 64;  // bf16 elements in the 128 bytes of a swizzled row

// Describes bf16 memory of up to five dimensions, the fastest first, for copies of a box of it to
// shared memory in the 128-byte swizzle; what of a box is outside of it is zeros there. strides: of
// all dimensions but the first, in elements, multiples of 8; base: a multiple of 16 bytes; box: its
// first extent kPanelColumns, the others at most 256.
cudaError_t make_map(CUtensorMap* map, const void* base, std::span<const int64_t> sizes,
                     std::span<const int64_t> strides, std::span<const int> box);

// The same of rows: [rows, columns], dense from `base`, for boxes of [box_rows, kPanelColumns].
// rows below 2^32; columns a multiple of kPanelColumns. Only rows that are copied need be
// allocated.
cudaError_t make_row_map(CUtensorMap* map, const void* base, int64_t rows, int columns,
                         int box_rows);

}  // namespace kvg::cuda::hopper
