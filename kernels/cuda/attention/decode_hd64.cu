#include "kernels/cuda/attention/decode_kernel.cuh"
#include "kernels/cuda/attention/decode_launch.h"

namespace kvg::cuda {

cudaError_t launch_decode_hd64(const DecodeAttentionLaunch& params, cudaStream_t stream) {
  return launch_head_dim<64>(params, stream);
}

}  // namespace kvg::cuda
