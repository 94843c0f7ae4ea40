#include "kernels/cuda/gemm/gated_sm90_launch.cuh"

namespace kvg::cuda {

cudaError_t launch_gated_112(const GatedLaunch& params, cudaStream_t stream) {
  return launch_gated<112>(params, stream);
}

}  // namespace kvg::cuda
