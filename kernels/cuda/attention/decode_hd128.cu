#include "kernels/cuda/attention/decode_kernel.cuh"
#include "kernels/cuda/attention/decode_launch.h"

namespace kvg::cuda {

cudaError_t launch_decode_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream) {
  return launch_head_dim<128>(params, stream);
}

}  // namespace kvg::cuda
