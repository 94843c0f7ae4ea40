#pragma once

#include "kernels/ops.h"
#include "kernels/reference/rope.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace kvg::reference {

// cos and sin of theta [heads, head_dim/2]; empty for one stream. Kept between calls by a set that
// must not allocate while it runs.
template <typename T>
struct ThetaTurns {
  std::vector<T> cos;
  std::vector<T> sin;

  void fill(const Tensor& theta) {
    const auto n = static_cast<size_t>(theta ? theta.elements() : 0);
    cos.resize(n);
    sin.resize(n);
    for (size_t i = 0; i < n; ++i) {
      cos[i] = std::cos(theta.as<T>()[i]);
      sin[i] = std::sin(theta.as<T>()[i]);
    }
  }
};

// The queries of one row in the frame whose position is `origin`, all streams:
//   stream 0: RoPE_origin(q);  stream 1: R_theta (always on pairs (2j, 2j+1)) of stream 0
template <typename T>
void make_queries(const PrepareHeadsParams& p, const Turn<T>& origin, const ThetaTurns<T>& theta,
                  const T* fused, T* q) {
  const int64_t stream_size = int64_t{p.heads} * p.head_dim;
  for (int h = 0; h < p.heads; ++h) {
    const int64_t at = int64_t{h} * p.head_dim;
    std::copy_n(fused + at, p.head_dim, q + at);
    rotate(origin.cos.data(), origin.sin.data(), p.head_dim, p.rope.half_split, q + at);
    if (!p.theta) continue;
    std::copy_n(q + at, p.head_dim, q + stream_size + at);
    rotate(theta.cos.data() + at / 2, theta.sin.data() + at / 2, p.head_dim, false,
           q + stream_size + at);
  }
}

// Frame 0 of a row with two frames: RoPE by the distance (position - bank position) on top of
// frame 1.
template <typename T>
void turn_queries(const PrepareHeadsParams& p, const Turn<T>& distance, const T* from, T* q) {
  const int64_t vectors = (p.theta ? 2 : 1) * int64_t{p.heads};
  std::copy_n(from, vectors * p.head_dim, q);
  for (int64_t i = 0; i < vectors; ++i) {
    rotate(distance.cos.data(), distance.sin.data(), p.head_dim, p.rope.half_split,
           q + i * p.head_dim);
  }
}

template <typename T>
T sigmoid(T x) {
  return 1 / (1 + std::exp(-x));
}

template <typename T>
void prepare_heads_row(const PrepareHeadsParams& p, const RopeAngles& angles,
                       const ThetaTurns<T>& theta, int64_t row) {
  const T* fused = p.fused.row<T>(row);
  const int64_t rows = p.fused.size(0);
  const int64_t position = p.positions.as<int64_t>()[row];
  Turn<T> turn;
  if (p.bank_positions) {
    const int64_t bank_position = p.bank_positions.as<int64_t>()[row];
    T* frame_1 = p.q.row<T>(rows + row);
    angles.at(bank_position, turn);
    make_queries(p, turn, theta, fused, frame_1);
    angles.at(position - bank_position, turn);
    turn_queries(p, turn, frame_1, p.q.row<T>(row));
  }
  angles.at(position, turn);
  if (!p.bank_positions) make_queries(p, turn, theta, fused, p.q.row<T>(row));

  const int64_t kv_size = int64_t{p.kv_heads} * p.head_dim;
  const T* k = fused + int64_t{p.heads} * p.head_dim;
  std::copy_n(k, kv_size, p.k.row<T>(row));
  std::copy_n(k + kv_size, kv_size, p.v.row<T>(row));
  for (int h = 0; h < p.kv_heads; ++h) {
    rotate(turn.cos.data(), turn.sin.data(), p.head_dim, p.rope.half_split,
           p.k.row<T>(row) + int64_t{h} * p.head_dim);
  }
  if (p.lambda) {
    for (int h = 0; h < p.heads; ++h) {
      const T lambda = sigmoid(fused[p.lambda_column + h]);
      p.lambda.row<T>(row)[h] = p.negate_lambda ? -lambda : lambda;
    }
  }
  if (p.gate) p.gate.as<T>()[row] = p.gate_column < 0 ? T{1} : sigmoid(fused[p.gate_column]);
}

// See PrepareHeadsParams for what becomes of [q | k | v | lambda | gate].
template <typename T>
void prepare_heads(const PrepareHeadsParams& p) {
  const RopeAngles angles(p.rope, p.head_dim);
  ThetaTurns<T> theta;
  theta.fill(p.theta);
  for (int64_t row = 0; row < p.fused.size(0); ++row) prepare_heads_row(p, angles, theta, row);
}

}  // namespace kvg::reference
