#include "kernels/cuda/attention/decode_launch.h"
#include "kernels/cuda/attention/decode_stream_kernel.cuh"

namespace kvg::cuda {

cudaError_t launch_decode_stream_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream) {
  return launch_stream<128>(params, stream);
}

}  // namespace kvg::cuda
