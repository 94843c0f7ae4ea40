#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// nll[r] = log(sum_v exp(logits[r, v])) - logits[r, targets[r]], in nats: exponentials in fp32,
// sums in double, in a fixed order. A NaN among the logits gives NaN.
struct NllLaunch {
  const float* logits = nullptr;     // [rows, vocab]
  const int32_t* targets = nullptr;  // [rows], in [0, vocab)
  double* nll = nullptr;             // [rows]
  int64_t rows = 0;
  int64_t vocab = 0;
};

cudaError_t launch(const NllLaunch& params, cudaStream_t stream);

inline int64_t bytes(const NllLaunch& p) { return p.rows * (4 * p.vocab + 12); }
inline int64_t flops(const NllLaunch& p) { return 3 * p.rows * p.vocab; }

}  // namespace kvg::cuda
