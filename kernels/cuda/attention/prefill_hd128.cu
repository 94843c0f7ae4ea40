#include "kernels/cuda/attention/prefill_kernel.cuh"
#include "kernels/cuda/attention/prefill_launch.h"

namespace kvg::cuda {

cudaError_t launch_prefill_hd128(const PrefillLaunch& params, cudaStream_t stream) {
  return launch_prefill<128, 2>(params, stream);
}

cudaError_t launch_prefill_hd128_half(const PrefillLaunch& params, cudaStream_t stream) {
  return launch_prefill<128, 1>(params, stream);
}

}  // namespace kvg::cuda
