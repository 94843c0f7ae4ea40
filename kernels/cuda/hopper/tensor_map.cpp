#include "kernels/cuda/hopper/tensor_map.h"

#include <array>

#include <cudaTypedefs.h>

namespace kvg::cuda::hopper {

namespace {

// From the driver, which the project does not link to.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                              12000, cudaEnableDefault, &found);
  if (status != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

}  // namespace

cudaError_t make_map(CUtensorMap* map, const void* base, std::span<const int64_t> sizes,
                     std::span<const int64_t> strides, std::span<const int> box) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encoder();
  if (encode == nullptr) return cudaErrorSymbolNotFound;
  constexpr size_t kMostDimensions = 5;
  cuuint64_t size[kMostDimensions], stride[kMostDimensions];
  cuuint32_t extent[kMostDimensions], step[kMostDimensions];
  for (size_t i = 0; i < sizes.size(); ++i) {
    size[i] = static_cast<cuuint64_t>(sizes[i]);
    extent[i] = static_cast<cuuint32_t>(box[i]);
    step[i] = 1;
  }
  for (size_t i = 0; i < strides.size(); ++i) stride[i] = static_cast<cuuint64_t>(strides[i]) * 2;
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(sizes.size()),
             const_cast<void*>(base), size, stride, extent, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t make_row_map(CUtensorMap* map, const void* base, int64_t rows, int columns,
                         int box_rows) {
  return make_map(map, base, std::array<int64_t, 2>{columns, rows}, std::array<int64_t, 1>{columns},
                  std::array{kPanelColumns, box_rows});
}

}  // namespace kvg::cuda::hopper
