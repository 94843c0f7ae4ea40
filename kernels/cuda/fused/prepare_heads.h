#pragma once

#include "kernels/ops.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// RoPE's inverse frequencies base^(-2i/head_dim), in double (rounded to bf16 under bf16_angles) and
// passed by value: a position of a million times a float frequency has lost its fraction.
struct RopeFrequencies {
  static constexpr int kMaxPairs = 64;
  double of_pair[kMaxPairs] = {};  // [head_dim / 2]
};
RopeFrequencies rope_frequencies(const RopeSettings& rope, int head_dim);

// One row of the fused projection into queries, keys, values, lambda and gate, as
// PrepareHeadsParams says. Angles are reduced in double, cosines and sines applied in fp32.
struct PrepareHeadsLaunch {
  const void* fused = nullptr;              // [rows, width] bf16
  const int64_t* positions = nullptr;       // [rows]
  const int64_t* bank_positions = nullptr;  // [rows] or null: one frame
  const float* theta = nullptr;             // [heads, head_dim / 2] or null: one stream
  void* q = nullptr;                        // [frames, rows, streams, heads, head_dim] bf16
  void* k = nullptr;                        // [rows, kv_heads, head_dim] bf16
  void* v = nullptr;                        // [rows, kv_heads, head_dim] bf16
  float* lambda = nullptr;                  // [rows, heads] or null
  float* gate = nullptr;                    // [rows] or null
  int64_t rows = 0;
  int64_t width = 0;  // fastest when a multiple of 8
  int32_t heads = 0, kv_heads = 0;
  int32_t head_dim = 0;        // 64 or 128
  int32_t lambda_column = -1;  // -1: none
  bool negate_lambda = false;  // lambda is -sigmoid
  int32_t gate_column = -1;    // -1: gates are 1
  bool half_split = true;
  bool bf16_angles = false;
  RopeFrequencies frequencies;
};

// Overlaps the launch before it, which may write `fused` but not the positions.
cudaError_t launch(const PrepareHeadsLaunch& params, cudaStream_t stream);

inline int64_t bytes(const PrepareHeadsLaunch& p) {
  const int64_t frames = p.bank_positions != nullptr ? 2 : 1;
  const int64_t streams = p.theta != nullptr ? 2 : 1;
  const int64_t read = 2 * (p.heads + 2 * p.kv_heads) * int64_t{p.head_dim} + frames * 8 +
                       (p.lambda_column >= 0 ? 2 * p.heads : 0) + (p.gate_column >= 0 ? 2 : 0);
  const int64_t written = 2 * (frames * streams * p.heads + 2 * p.kv_heads) * int64_t{p.head_dim} +
                          (p.lambda != nullptr ? 4 * p.heads : 0) + (p.gate != nullptr ? 4 : 0);
  return p.rows * (read + written) + (p.theta != nullptr ? 2 * p.heads * int64_t{p.head_dim} : 0);
}
// Three operations an element and turn.
inline int64_t flops(const PrepareHeadsLaunch& p) {
  const int64_t frames = p.bank_positions != nullptr ? 2 : 1;
  const int64_t turns = frames + (p.theta != nullptr ? 1 : 0) * frames;
  return 3 * p.rows * (turns * p.heads + p.kv_heads) * p.head_dim;
}

}  // namespace kvg::cuda
