#pragma once

#include <cstdint>

#include <cuda.h>
#include <cuda_runtime_api.h>

namespace kvg::cuda::hopper {

inline constexpr int kPanelColumns = 64;  // bf16 elements in the 128 bytes of a swizzled row

// Describes bf16 memory [rows, columns], dense from `base`, for copies of [box_rows, kPanelColumns]
// to shared memory in the 128-byte swizzle. base: a multiple of 16 bytes; rows below 2^32; columns
// a multiple of kPanelColumns. Only rows that are copied need be allocated.
cudaError_t make_row_map(CUtensorMap* map, const void* base, int64_t rows, int columns,
                         int box_rows);

}  // namespace kvg::cuda::hopper
