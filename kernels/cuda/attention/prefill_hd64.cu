#include "kernels/cuda/attention/prefill_kernel.cuh"
#include "kernels/cuda/attention/prefill_launch.h"

namespace kvg::cuda {

cudaError_t launch_prefill_hd64(const PrefillLaunch& params, cudaStream_t stream) {
  return launch_prefill<64, 2>(params, stream);
}

cudaError_t launch_prefill_hd64_half(const PrefillLaunch& params, cudaStream_t stream) {
  return launch_prefill<64, 1>(params, stream);
}

}  // namespace kvg::cuda
