#pragma once

#include "kernels/cuda/context.h"
#include "kernels/decode.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"

// The pointwise operations of the CUDA set: parameters of kernels/ops.h turned into launches on the
// context's stream, declared with their bytes and FLOPs. None allocates or waits, so all of them
// may be part of a recorded step. Tensors are bf16, "wide" ones f32; shapes that a kernel cannot
// serve (hidden or ffn not a multiple of 8, head_dim other than 64 or 128) throw Error.
namespace kvg::cuda {

// Tokens outside of the table, as a failed choice leaves them (-1), read its nearest row.
void embed(CudaContext& context, const EmbedParams& params);
void rms_norm(CudaContext& context, const RmsNormParams& params);
void swiglu(CudaContext& context, const SwigluParams& params);
void prepare_heads(CudaContext& context, const PrepareHeadsParams& params);
void nll(CudaContext& context, const NllParams& params);
void sample(CudaContext& context, const SampleParams& params);

// Copies elements between device tensors of as many elements, converting between f64, f32 and bf16
// (to nearest even) or copying equal types as they are. Throws Error for other pairs.
void convert(CudaContext& context, const Tensor& from, const Tensor& to);

}  // namespace kvg::cuda
