#pragma once

#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace kvg::cuda {

// Attention of many queries (kernels/ops.h, AttentionParams) by one launch for all blocks of all
// sequences. q, head_norm and out are bf16, lambda is f32; head_dim 64 or 128; scale > 0. Weights
// of the softmax and queries in a codec's frame are rounded to bf16, sums are fp32. Bitwise
// repeatable.
void prefill_attention(CudaContext& context, const AttentionParams& p);

}  // namespace kvg::cuda
