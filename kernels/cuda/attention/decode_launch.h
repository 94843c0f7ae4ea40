#pragma once

#include "kernels/cuda/attention/decode.h"

#include <cuda_runtime_api.h>

// launch() of decode.h, by head_dim and by whether all stores have one dense codec.
namespace kvg::cuda {

cudaError_t launch_decode_hd64(const DecodeAttentionLaunch& params, cudaStream_t stream);
cudaError_t launch_decode_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream);
cudaError_t launch_decode_bank_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream);
cudaError_t launch_decode_stream_hd64(const DecodeAttentionLaunch& params, cudaStream_t stream);
cudaError_t launch_decode_stream_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
