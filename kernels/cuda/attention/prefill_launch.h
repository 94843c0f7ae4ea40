#pragma once

#include "kernels/cuda/codec/device_codec.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// One AttentionGroup of one block on the device. Slot i of the group is (first_slot + i) mod
// capacity of the store; the query of the block's row r may read slots i with
//   max(0, newest + r - window + 1) <= i < min(count, newest + r + 1),
// which for a group that every query reads whole is newest = count, window = kNoWindow.
struct PrefillGroup {
  const uint8_t* k_codes = nullptr;  // [kv_heads, capacity, code_bytes]
  const uint8_t* v_codes = nullptr;
  const uint16_t* k_scales = nullptr;  // [kv_heads, capacity] fp16 or null
  const uint16_t* v_scales = nullptr;
  const uint8_t* valid = nullptr;     // [count] by i or null
  const float* log_weight = nullptr;  // [count] by i, natural logarithm, or null
  int32_t capacity = 0;
  int32_t first_slot = 0;
  int32_t count = 0;
  int32_t newest = 0;
  int32_t window = 0;
  int32_t query_frame = 0;
  int32_t k_codec = 0;  // rows of PrefillLaunch::codecs
  int32_t v_codec = 0;
  // Equal numbers: the same rotation. kIdentityFrame: none.
  int32_t k_rotation = 0;
  int32_t v_rotation = 0;
  bool plain_k = false;  // bf16, all coordinates
  bool plain_v = false;
  bool weighed = false;  // slots have scales, weights or a mask
  // Plain slots that are rows of the call's memory (PrefillLaunch::slot_base).
  bool copied_k = false;
  bool copied_v = false;
  // Of joined blocks: rows of block j read no slots before j * step.
  int32_t step = 0;
};

inline constexpr int32_t kNoWindow = 1 << 30;
inline constexpr int32_t kIdentityFrame = -1;

// Blocks that a kernel may join: as many as it has warpgroups that multiply.
inline constexpr int kMostJoined = 3;

// One AttentionBlock. Its query units are (row r, head g of the KV head's G), numbered r * G + g.
//
// Or several, one after the other, which one item computes, each by a warpgroup of its own: block j
// has 64 packed rows, the last one at most as many. All of them read the last group; the groups
// before it are each of one block, whose rows read all of their slots: at most two halves of a tile
// (64 slots) for a block.
struct PrefillBlock {
  int64_t row_begin = 0;
  int32_t rows = 0;
  int32_t group_begin = 0;  // rows of PrefillLaunch::groups
  int32_t group_end = 0;
  int32_t joined = 0;                 // blocks; 0: it is one
  int32_t own_end[kMostJoined] = {};  // end of the groups of block j, which begin where j - 1 ends
};

// What one thread block computes, for every KV head: units [first_unit, ...) of a block, as many as
// the kernel's tile holds.
struct PrefillItem {
  int32_t block = 0;
  int32_t first_unit = 0;
};

// Attention of all blocks of a call (kernels/ops.h, AttentionParams) by one launch. The tables are
// in device memory. heads is a multiple of kv_heads, kv_heads * items below 2^31.
struct PrefillLaunch {
  const void* q = nullptr;          // [frames, rows, streams, heads, head_dim] bf16
  const float* lambda = nullptr;    // [rows, heads], null for one stream
  const void* head_norm = nullptr;  // [head_dim] bf16 or null
  void* out = nullptr;              // [rows, heads, head_dim] bf16
  int64_t rows = 0;
  int32_t streams = 1;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t layer = 0;
  float scale_log2 = 0;  // scale * log2(e), positive
  float head_norm_eps = 0;
  const PrefillItem* items = nullptr;
  int32_t item_count = 0;
  const PrefillBlock* blocks = nullptr;
  const PrefillGroup* groups = nullptr;
  const DeviceCodec* codecs = nullptr;
  // Where the kernel of compute capability 9.0 finds plain slots: slot_rows rows of head_dim bf16
  // from slot_base on, not all of them memory.
  const uint8_t* slot_base = nullptr;
  int64_t slot_rows = 0;
  int64_t most_slots = 0;   // of a group
  int32_t query_frame = 0;  // of all groups, where they share one
  int32_t multiprocessors = 0;
  int32_t* counter = nullptr;  // CudaContext::work_counter()
  float* log_sum = nullptr;    // [rows, streams, heads] or null: AttentionParams::log_sum
  // For dense kernels: blocks and groups again, but in host memory, and the query heads that units
  // are of, a divisor of heads / kv_heads and of 8. Units are then numbered r * unit_heads + g.
  const PrefillBlock* host_blocks = nullptr;
  const PrefillGroup* host_groups = nullptr;
  int32_t block_count = 0;
  int32_t unit_heads = 0;
};

// Tensor cores by mma.sync, from compute capability 8.0 up. A tile has kPrefillTileRows packed
// query rows (units x streams) or, for blocks of few queries, half of them.
inline constexpr int kPrefillTileRows = 128;
cudaError_t launch_prefill_hd64(const PrefillLaunch& params, cudaStream_t stream);
cudaError_t launch_prefill_hd64_half(const PrefillLaunch& params, cudaStream_t stream);
cudaError_t launch_prefill_hd128(const PrefillLaunch& params, cudaStream_t stream);
cudaError_t launch_prefill_hd128_half(const PrefillLaunch& params, cudaStream_t stream);

// Tensor cores by wgmma, compute capability 9.0: no rotated or scaled slots, one frame of queries.
// Blocks of at most kMostPlannedGroups groups. Defined where the architecture 90a is compiled for
// (KVG_CUDA_SM90A).
inline constexpr int kMostPlannedGroups = 32;
// K and V of all heads beyond this do not stay in the second-level cache together.
inline constexpr int64_t kSectionBytes = int64_t{40} << 20;
inline constexpr int kHopperRowsHd64 = 192;
inline constexpr int kHopperRowsHd128 = 128;
cudaError_t launch_prefill_sm90_hd64(const PrefillLaunch& params, cudaStream_t stream);
cudaError_t launch_prefill_sm90_hd128(const PrefillLaunch& params, cudaStream_t stream);

// The same where every block reads one group of copied slots that do not start over and have no
// weights: PrefillGroup::copied_k and copied_v, first_slot + count <= capacity.
inline constexpr int kMostDenseBlocks = 8;
inline constexpr int kDenseRowsHd64 = 192;
inline constexpr int kDenseRowsHd128 = 256;  // of two thread blocks
cudaError_t launch_prefill_dense_hd64(const PrefillLaunch& params, cudaStream_t stream);
cudaError_t launch_prefill_dense_hd128(const PrefillLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
