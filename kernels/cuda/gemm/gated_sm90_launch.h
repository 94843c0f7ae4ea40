#pragma once

#include "kernels/cuda/gemm/gated_sm90.h"

#include <cuda_runtime_api.h>

// launch() of gated_sm90.h by the columns of a tile; one file each.
namespace kvg::cuda {

cudaError_t launch_gated_88(const GatedLaunch& params, cudaStream_t stream);
cudaError_t launch_gated_112(const GatedLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
