#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_sm90_dense_kernel.cuh"

namespace kvg::cuda {

cudaError_t launch_prefill_dense_hd64(const PrefillLaunch& params, cudaStream_t stream) {
  return launch_dense_prefill<64>(params, stream);
}

}  // namespace kvg::cuda
