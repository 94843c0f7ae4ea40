#pragma once

#include "kernels/cuda/attention/decode_slots.h"
#include "kernels/cuda/decode_state.h"

#include <cstddef>
#include <cstdint>
#include <span>

#include <cuda_runtime_api.h>

// One new token of every sequence against all slots that it may read (kernels/decode.h): stores the
// token, then out = o_0 - lambda o_1 and the head norm.
//
// A block has the queries of one KV head (heads of its group x streams, at most 16: `chunks` blocks
// share a KV head with more) and one split of the slots. Queries are the n = 8 of mma.m16n8k16:
// logits^T = K q^T, out^T = V^T p^T. Splits are added up in their order, so results repeat bit for
// bit.
namespace kvg::cuda {

// Which kernel reads the slots.
enum class DecodeKernel : uint8_t {
  plain,  // of codecs whose vectors are no codes: bf16, f32, bands
  bank,   // of many short caches in bf16, summaries in f32 (decode_bank_kernel.cuh)
  mixed,  // of any codecs
  // all of one codec, K and V
  eden2,
  eden4,
  fp8,
  int8,
};

// How the slots of a KV head are spread over blocks; fixed for the life of a DecodeState.
struct DecodeGrid {
  int32_t queries = 0;  // rows of a block: 8 or 16
  int32_t chunks = 0;   // blocks that share a KV head's slots
  int32_t splits = 0;   // at most; bank: warps that share a KV head, 1 to 8
  // The splits of a KV head form a cluster and add up over distributed shared memory; otherwise the
  // last block to finish adds up what the others left in the workspace.
  bool clustered = false;
  int32_t blocks = 0;  // bank: of the whole launch
};
inline constexpr int32_t kMostInCluster = 8;
inline constexpr int kBankWarps = 8;  // of a block of the bank kernel

// As many splits as fill the GPU when all sequences have grown to max_tokens.
DecodeGrid decode_grid(const DeviceDecodePlan& plan, const DecodeSlots& slots, DecodeKernel kernel,
                       int multiprocessors, bool clusters);

// How the keys of summaries are stored, for the bank kernel.
struct SummaryKeys {
  int32_t bytes = 0;  // of a slot, upper words and rests
  // Of each 16 coordinates: where they stand among those that are stored, in 16s; -1: they are not.
  int8_t places[8] = {};
};
// Whether the bank kernel reads such caches, and the better for being many of them.
bool bank_serves(const DecodeState& state, const DecodeSlots& slots, int multiprocessors,
                 SummaryKeys* summaries);

// Partial results between the blocks of a launch; the counters are zero before and after it.
struct DecodeWorkspace {
  float* sums = nullptr;   // [sequences, kv_heads * chunks, splits, queries, head_dim]
  float* stats = nullptr;  // [sequences, kv_heads * chunks, splits, queries, 2]: max (log2), sum
  unsigned* counters = nullptr;  // [sequences, kv_heads * chunks]
};
size_t decode_workspace_bytes(const DeviceDecodePlan& plan, const DecodeGrid& grid);
DecodeWorkspace decode_workspace(const DeviceDecodePlan& plan, const DecodeGrid& grid,
                                 void* memory);

struct DecodeAttentionLaunch {
  const DeviceDecodeCache* caches = nullptr;  // [sequences] of this layer
  DecodeSlots slots;
  DecodeGrid grid;
  DecodeWorkspace workspace;
  int32_t sequences = 0, heads = 0, kv_heads = 0, head_dim = 0, streams = 1, frames = 1;
  int32_t layer = 0;
  const int64_t* positions = nullptr;  // [sequences]
  const void* q = nullptr;             // [frames * sequences, streams, heads, head_dim] bf16
  const void* k = nullptr;             // [sequences, kv_heads, head_dim] bf16
  const void* v = nullptr;             // [sequences, kv_heads, head_dim] bf16
  const float* gate = nullptr;         // [sequences], with a landmark bank
  const float* lambda = nullptr;       // [sequences, heads], two streams
  const void* head_norm = nullptr;     // [head_dim] bf16 or null
  float head_norm_eps = 1e-6f;
  float scale = 0;
  void* out = nullptr;  // [sequences, heads, head_dim] bf16
  DecodeKernel kernel = DecodeKernel::mixed;
  SummaryKeys summaries;  // bank
  // Starts while the launch before it still runs. What wrote the caches and the positions must be
  // complete by then: ahead of a launch of this step that does not overlap the ones before it, as
  // that of the embedding does not.
  bool overlaps = false;
};

// What kernels/decode.h asks for, as a launch on a CudaDecodeState.
DecodeAttentionLaunch decode_attention_launch(const DecodeAttentionParams& params);

// head_dim 64 or 128, streams 1 or 2. Any number of splits up to params.grid's serves, although
// with other rounding.
cudaError_t launch(const DecodeAttentionLaunch& params, cudaStream_t stream);

// What one sequence at `position` must move: every readable slot once, queries, new token, output;
// `slot_bytes`: CudaDecodeState::read_bytes().
int64_t decode_bytes(const DecodeAttentionLaunch& params, std::span<const int64_t> slot_bytes,
                     int64_t position);
int64_t decode_flops(const DecodeAttentionLaunch& params, int64_t position);

}  // namespace kvg::cuda
