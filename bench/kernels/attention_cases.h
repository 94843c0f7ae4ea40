#pragma once

#include "bench/kernels/tensors.h"
#include "kernels/ops.h"

#include <cstdint>
#include <functional>
#include <vector>

// Inputs of prefill attention as the retentions make them.
namespace kvg {

struct AttentionGeometry {
  int heads = 32, kv_heads = 8, head_dim = 128, streams = 2;
};

// One call; `params.blocks` is set when it is made.
struct AttentionCase {
  AttentionParams params;
  std::vector<AttentionBlock> blocks;
};

// Every token reads itself and all before it.
AttentionCase dense_causal(Tensors& tensors, const AttentionGeometry& geometry, const Codec& codec,
                           int64_t rows);

// What `landmark(window=256,exact=64,summary=64,block=B)` asks of the prefill of a prompt, as
// model/cache/landmark_layer lays it out: every `block` tokens the window gives up as many, and
// from then on queries read a snapshot of both banks of its own, 64 slots in bf16 each. head_dim
// 128 and 8 KV heads.
AttentionCase landmark_plan_case(Tensors& tensors, const AttentionGeometry& geometry,
                                 const Codec& codec, int64_t rows, int64_t block);

// Blocks of 256 tokens that read a bank of 64 exact and 64 summary slots, the 256 tokens before
// them, and themselves causally: what `landmark(window=256,exact=64,summary=64)` asks of prefill.
AttentionCase block_plan(Tensors& tensors, const AttentionGeometry& geometry, const Codec& codec,
                         int64_t rows);

}  // namespace kvg
