#pragma once

#include "kernels/cuda/attention/prefill_launch.h"

#include <cstdint>
#include <string_view>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// What a call of prefill attention asks of a kernel.
struct PrefillCase {
  int compute_capability = 0;  // 90 for 9.0
  int head_dim = 0;
  // Packed query rows (row, head of a KV head, stream) of its largest block.
  int64_t block_rows = 0;
  // Every group is bf16 or f32, not rotated and not scaled, and all read the same frame of queries.
  bool unrotated = false;
  bool log_sum = false;  // is asked for, which only kernels that copy give
  // The same as block_rows, but of dense_unit_heads() heads, where there are few blocks, each of
  // one group without weights or masks whose slots do not start over; else 0.
  int64_t dense_rows = 0;
  int64_t groups = 1;  // of the block with most
};

// One kernel and the cases it serves.
struct PrefillKernel {
  std::string_view name;
  int compute_capability;  // from here on
  int head_dim;
  bool copies;  // slots as they are: unrotated ones only, which are decoded to bf16 before
  bool dense;   // blocks as PrefillCase::dense_rows says
  int64_t least_rows, most_rows;  // of the largest block; most_rows 0: any number
  int tile_rows;                  // packed query rows of an item
  int joined;                     // blocks that an item may be of, 1: of one
  cudaError_t (*launch)(const PrefillLaunch&, cudaStream_t);
};

// The first kernel of the table that serves a case. Throws std::logic_error (KVG_CHECK) when none
// does: head_dim is neither 64 nor 128, the GPU is older than 8.0, or log_sum is asked for on one
// other than 9.0 or with blocks of more than kMostPlannedGroups groups.
const PrefillKernel& choose_prefill_kernel(const PrefillCase& wanted);

}  // namespace kvg::cuda
