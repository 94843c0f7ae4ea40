#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_sm90_kernel.cuh"

namespace kvg::cuda {

cudaError_t launch_prefill_sm90_hd64(const PrefillLaunch& params, cudaStream_t stream) {
  return launch_hopper_prefill<64>(params, stream);
}

}  // namespace kvg::cuda
