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
  int streams = 1;
  int64_t block_rows =
      0;               // packed query rows (row, head of a KV head, stream) of its largest block
  bool dense = false;  // every block reads one bf16 group without weights or mask
};

// One kernel and the cases it serves.
struct PrefillKernel {
  std::string_view name;
  int compute_capability;  // from here on
  int head_dim;
  int streams;        // 0: any number
  bool dense_only;    // no block plan
  int64_t most_rows;  // of a block, 0: any number
  int tile_rows;      // packed query rows of an item
  cudaError_t (*launch)(const PrefillLaunch&, cudaStream_t);
};

// The first kernel of the table that serves a case. Throws std::logic_error (KVG_CHECK) when none
// does: head_dim is neither 64 nor 128, or the GPU is older than 8.0.
const PrefillKernel& choose_prefill_kernel(const PrefillCase& wanted);

}  // namespace kvg::cuda
