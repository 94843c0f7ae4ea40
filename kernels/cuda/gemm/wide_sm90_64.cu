#include "kernels/cuda/gemm/wide_sm90_launch.cuh"

namespace kvg::cuda {

cudaError_t launch_wide_64(const WideLaunch& params, cudaStream_t stream) {
  return launch_wide_rows<64>(params, stream);
}

}  // namespace kvg::cuda
