#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// The token after each row's, as SampleParams says, and the step moved on; the rule is that of
// kernels/sample.h. Weights are double as on the host, but added in another (fixed) order: a choice
// differs from the host's only when the draw falls within rounding of a boundary.
struct SampleLaunch {
  const float* logits = nullptr;             // [rows, vocab]
  int32_t* tokens = nullptr;                 // [rows]
  int64_t* positions = nullptr;              // [rows], of the tokens that gave the logits
  int64_t* bank_positions = nullptr;         // [rows] or null
  int32_t* history = nullptr;                // [rows, columns] or null
  const int64_t* first_positions = nullptr;  // [rows], with history
  int64_t rows = 0;
  int64_t vocab = 0;  // below 2^31
  int64_t columns = 0;
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  uint64_t seed = 0;
  int64_t bank_limit = -1;
  bool advance = false;
};

cudaError_t launch(const SampleLaunch& params, cudaStream_t stream);

// One read of the logits: the further ones that a draw needs hit the caches.
inline int64_t bytes(const SampleLaunch& p) { return p.rows * (4 * p.vocab + 4 + 8); }
inline int64_t flops(const SampleLaunch& p) { return p.rows * p.vocab; }

}  // namespace kvg::cuda
