#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_launch.h"

#include <cstdint>

namespace kvg::cuda {

// Divides a thread's two rows of results by the sums of their weights, combines streams and writes
// them. `out` as in HopperConsumer; is changed.
template <typename Work>
class HopperWriter {
 public:
  using Tile = typename Work::Tile;
  static constexpr int kHeadDim = Tile::kHeadDim;

  __device__ HopperWriter(const PrefillLaunch& p, const Work& work, float (&out)[kHeadDim / 2])
      : p_(p), work_(work), out_(out) {}

  // sums: of the thread's weights, which are relative to `shift` (of scaled scores).
  __device__ __forceinline__ void write(const float (&sums)[2], const float (&shift)[2],
                                        float lambda) {
    float inverse[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float sum = quad_sum(sums[row]);
      inverse[row] = sum == 0 ? 0 : 1 / sum;
      write_log_sum(row, sum, shift[row]);
    }
    if constexpr (Tile::kStreams == 2) {
      const float second = lambda * inverse[1];
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          out_[4 * i + j] = out_[4 * i + j] * inverse[0] - out_[4 * i + 2 + j] * second;
        }
      }
      write_row(0);
    } else {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
#pragma unroll
        for (int i = 0; i < kHeadDim / 8; ++i) {
          out_[4 * i + 2 * row] *= inverse[row];
          out_[4 * i + 2 * row + 1] *= inverse[row];
        }
        write_row(row);
      }
    }
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ __forceinline__ static float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
  }

  // Of the thread's row: out_[4 i + 2 row + {0, 1}].
  __device__ __forceinline__ void write_row(int row) {
    if (p_.head_norm != nullptr) normalize(row);
    if (!work_.real(row)) return;
    auto* out = static_cast<__nv_bfloat16*>(p_.out) + work_.vector(row) * kHeadDim + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
      *reinterpret_cast<uint32_t*>(out + 8 * i) =
          pack_bf16(out_[4 * i + 2 * row], out_[4 * i + 2 * row + 1]);
    }
  }
  __device__ __forceinline__ void normalize(int row) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float x = out_[4 * i + 2 * row + j];
        squares += x * x;
      }
    }
    const float factor = rsqrtf(quad_sum(squares) / kHeadDim + p_.head_norm_eps);
    const auto* weight = static_cast<const __nv_bfloat16*>(p_.head_norm) + lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        out_[4 * i + 2 * row + j] *= factor * __bfloat162float(weight[8 * i + j]);
      }
    }
  }

  // Natural logarithm of the sum of exponentials, -infinity for a row that reads nothing.
  __device__ __forceinline__ void write_log_sum(int row, float sum, float shift) {
    if (p_.log_sum == nullptr || lane() % 4 != 0) return;
    if (!work_.real(row)) return;
    const int64_t at = work_.vector(row);  // its streams are p_.heads apart
    const int64_t place = Tile::kStreams == 2 ? at + (at / p_.heads + row) * p_.heads : at;
    constexpr float kLog2 = 0.693147181f;
    p_.log_sum[place] = (shift + __log2f(sum)) * kLog2;
  }

  const PrefillLaunch& p_;
  const Work& work_;
  float (&out_)[kHeadDim / 2];
};

}  // namespace kvg::cuda
