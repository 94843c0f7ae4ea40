#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/fused/prepare_heads.h"
#include "kernels/cuda/fused/vectors.cuh"

#include <cmath>

#include <cuda_bf16.h>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 6;  // of a multiprocessor
constexpr int kPairs = 8;   // a thread: two loads of 16 bytes

// Cosines and sines of one angle for every pair of a vector.
struct Turn {
  float cos[RopeFrequencies::kMaxPairs];
  float sin[RopeFrequencies::kMaxPairs];
};

__device__ double round_bf16(double value) {
  return static_cast<double>(__bfloat162float(__float2bfloat16_rn(static_cast<float>(value))));
}

// The turn of one pair at a position, reduced to one revolution in double. The published table is
// rounded to bf16 at every step, so what is rounded must be right to far more digits than fp32 has.
__device__ void fill_turn(const PrepareHeadsLaunch& p, int64_t position, int pair, Turn& turn) {
  constexpr double kInversePi = 0.31830988618379067154;
  if (p.bf16_angles) {
    double sin = 0;
    double cos = 0;
    const double at = round_bf16(static_cast<double>(position));
    sincospi(round_bf16(at * p.frequencies.of_pair[pair]) * kInversePi, &sin, &cos);
    turn.cos[pair] = static_cast<float>(round_bf16(cos));
    turn.sin[pair] = static_cast<float>(round_bf16(sin));
  } else {
    const double angle = static_cast<double>(position) * p.frequencies.of_pair[pair];
    const double halves = angle * kInversePi;
    sincospif(static_cast<float>(halves - 2 * rint(0.5 * halves)), turn.sin + pair,
              turn.cos + pair);
  }
}

// Eight pairs of a vector: elements [at, at + 8) and [other, other + 8).
struct Pairs {
  Eight low, high;
};

// Where the eight pairs of a thread lie in their vector, and which they are.
struct Place {
  int low, high;
  int first_pair;
  bool half_split;
};

__device__ Place place(const PrepareHeadsLaunch& p, int piece) {
  if (p.half_split) return {piece * 8, p.head_dim / 2 + piece * 8, piece * 8, true};
  return {piece * 16, piece * 16 + 8, piece * 8, false};
}

__device__ void turn_pair(float& a, float& b, float cos, float sin) {
  const float turned = a * cos - b * sin;
  b = a * sin + b * cos;
  a = turned;
}

__device__ Pairs rope(Pairs x, const Turn& turn, const Place& place) {
  const float* cos = turn.cos + place.first_pair;
  const float* sin = turn.sin + place.first_pair;
  if (place.half_split) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) turn_pair(x.low.v[i], x.high.v[i], cos[i], sin[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kPairs / 2; ++i) {
      turn_pair(x.low.v[2 * i], x.low.v[2 * i + 1], cos[i], sin[i]);
      turn_pair(x.high.v[2 * i], x.high.v[2 * i + 1], cos[i + 4], sin[i + 4]);
    }
  }
  return x;
}

// R_theta turns neighbours whatever the pairing of RoPE is. Reduced to [-pi, pi] first, where the
// fast sine and cosine are good to 5e-7.
__device__ void turn_neighbours(Eight& x, const float* theta) {
  constexpr float kTwoPi = 6.283185307179586f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float angle = theta[j];
    float sin = 0;
    float cos = 0;
    __sincosf(angle - kTwoPi * rintf(angle / kTwoPi), &sin, &cos);
    turn_pair(x.v[2 * j], x.v[2 * j + 1], cos, sin);
  }
}

// Rows of a width that is no multiple of 8 begin anywhere.
__device__ Eight load_unaligned(const __nv_bfloat16* from) {
  Eight x;
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = __bfloat162float(from[i]);
  return x;
}

__device__ Pairs load(const PrepareHeadsLaunch& p, int64_t row, int vector, const Place& place) {
  const auto* from = static_cast<const __nv_bfloat16*>(p.fused) + row * p.width +
                     static_cast<int64_t>(vector) * p.head_dim;
  if (p.width % 8 == 0) return {load_eight(from + place.low), load_eight(from + place.high)};
  return {load_unaligned(from + place.low), load_unaligned(from + place.high)};
}

__device__ void store(void* to, int64_t vector, const PrepareHeadsLaunch& p, const Place& place,
                      const Pairs& x) {
  auto* at = static_cast<__nv_bfloat16*>(to) + vector * p.head_dim;
  store_eight(at + place.low, x.low);
  store_eight(at + place.high, x.high);
}

// Every stream of one frame of queries. `x` is stream 0; `again`, if any, turns what is stored.
__device__ void store_streams(const PrepareHeadsLaunch& p, int64_t frame_row, int head,
                              const Place& place, const Turn* again, Pairs x) {
  const int streams = p.theta != nullptr ? 2 : 1;
  for (int stream = 0; stream < streams; ++stream) {
    if (stream == 1) {
      const float* theta = p.theta + head * (p.head_dim / 2);
      turn_neighbours(x.low, theta + place.low / 2);
      turn_neighbours(x.high, theta + place.high / 2);
    }
    store(p.q, (frame_row * streams + stream) * p.heads + head, p, place,
          again != nullptr ? rope(x, *again, place) : x);
  }
}

__device__ float sigmoid(__nv_bfloat16 x) { return 1.0f / (1.0f + expf(-__bfloat162float(x))); }

__device__ void store_gates(const PrepareHeadsLaunch& p, int64_t row) {
  const auto* fused = static_cast<const __nv_bfloat16*>(p.fused) + row * p.width;
  if (p.lambda != nullptr) {
    for (int h = static_cast<int>(threadIdx.x); h < p.heads; h += kThreads) {
      const float lambda = sigmoid(fused[p.lambda_column + h]);
      p.lambda[row * p.heads + h] = p.negate_lambda ? -lambda : lambda;
    }
  }
  if (p.gate != nullptr && threadIdx.x == 0) {
    p.gate[row] = p.gate_column < 0 ? 1.0f : sigmoid(fused[p.gate_column]);
  }
}

// Block (x, y): pieces [128 x, 128 x + 128) of row y, a piece being eight pairs of one of its
// vectors (queries, keys, values). The angles of a row are computed once a block.
__global__ void __launch_bounds__(kThreads, kBlocks)
    prepare_heads_kernel(const __grid_constant__ PrepareHeadsLaunch p) {
  __shared__ Turn own, bank, distance;
  allow_next_launch();  // attention, which fetches the cache meanwhile
  const int64_t row = blockIdx.y + static_cast<int64_t>(blockIdx.z) * gridDim.y;
  if (row >= p.rows) return;
  const int pieces = p.head_dim / (2 * kPairs);
  const int index = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int vector = index / pieces;
  const bool active = vector < p.heads + 2 * p.kv_heads;
  const Place at = place(p, index % pieces);
  const int pairs = p.head_dim / 2;
  const int64_t position = p.positions[row];
  const int64_t bank_position = p.bank_positions != nullptr ? p.bank_positions[row] : position;
  const int set = static_cast<int>(threadIdx.x) / pairs;
  const int pair = static_cast<int>(threadIdx.x) % pairs;
  if (set == 0) fill_turn(p, position, pair, own);
  if (p.bank_positions != nullptr && set == 1) {
    fill_turn(p, bank_position, pair, bank);
    fill_turn(p, position - bank_position, pair, distance);
  }
  wait_for_previous_launch();  // only the projections are its
  Pairs x{};
  if (active) x = load(p, row, vector, at);
  __syncthreads();
  if (blockIdx.x == 0) store_gates(p, row);
  if (!active) return;
  if (vector >= p.heads + p.kv_heads) {
    store(p.v, row * p.kv_heads + vector - p.heads - p.kv_heads, p, at, x);
  } else if (vector >= p.heads) {
    store(p.k, row * p.kv_heads + vector - p.heads, p, at, rope(x, own, at));
  } else if (p.bank_positions == nullptr) {
    store_streams(p, row, vector, at, nullptr, rope(x, own, at));
  } else {
    const Pairs turned = rope(x, bank, at);
    store_streams(p, p.rows + row, vector, at, nullptr, turned);
    store_streams(p, row, vector, at, &distance, turned);
  }
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeSettings& rope, int head_dim) {
  RopeFrequencies frequencies;
  for (int i = 0; i < head_dim / 2 && i < RopeFrequencies::kMaxPairs; ++i) {
    const double exact = std::pow(rope.base, -2.0 * i / head_dim);
    frequencies.of_pair[i] =
        rope.bf16_angles
            ? static_cast<double>(bf16_to_float(float_to_bf16(static_cast<float>(exact))))
            : exact;
  }
  return frequencies;
}

cudaError_t launch(const PrepareHeadsLaunch& p, cudaStream_t stream) {
  constexpr int64_t kMaxGridY = 65535;
  const int64_t vectors = p.heads + 2 * int64_t{p.kv_heads};
  if ((p.head_dim != 64 && p.head_dim != 128) || p.heads <= 0 || p.kv_heads <= 0 || p.rows < 0 ||
      p.width < vectors * p.head_dim || p.rows > kMaxGridY * kMaxGridY) {
    return cudaErrorInvalidValue;
  }
  if (p.rows == 0) return cudaSuccess;
  const int64_t blocks = (vectors * (p.head_dim / (2 * kPairs)) + kThreads - 1) / kThreads;
  const int64_t y = p.rows < kMaxGridY ? p.rows : kMaxGridY;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(y),
                  static_cast<unsigned>((p.rows + y - 1) / y));
  return launch_overlapping(prepare_heads_kernel, grid, dim3(kThreads), stream, p);
}

}  // namespace kvg::cuda
