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

// bf16 memory of up to four dimensions, innermost first, for copies of boxes to shared memory in
// the 128-byte swizzle. What of a box lies outside becomes zeros.
struct BoxMap {
  int rank = 2;              // 2..4
  uint64_t sizes[4] = {};    // elements
  uint64_t strides[3] = {};  // bytes, of the second dimension on; multiples of 16
  uint32_t box[4] = {};      // the innermost at most kPanelColumns, the others at most 256
};
// base: a multiple of 16 bytes.
cudaError_t make_box_map(CUtensorMap* map, const void* base, const BoxMap& shape);

}  // namespace kvg::cuda::hopper
