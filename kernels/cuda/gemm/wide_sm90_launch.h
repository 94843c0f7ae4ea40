#pragma once

#include "kernels/cuda/gemm/wide_sm90.h"

#include <cuda_runtime_api.h>

// launch() of wide_sm90.h by the rows of x that the tensor cores work on at a time; one file each.
namespace kvg::cuda {

cudaError_t launch_wide_64(const WideLaunch& params, cudaStream_t stream);
cudaError_t launch_wide_128(const WideLaunch& params, cudaStream_t stream);
cudaError_t launch_wide_256(const WideLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
