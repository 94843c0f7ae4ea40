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

  // Of the thread's row: out_[4 i + 2 row + {0, 1}]. The four lanes of a row exchange pairs of
  // columns, so that each of them writes 16 bytes at a time instead of 4.
  __device__ __forceinline__ void write_row(int row) {
    if (p_.head_norm != nullptr) normalize(row);
    const bool real = work_.real(row);
    auto* out = static_cast<uint4*>(p_.out) + work_.vector(row) * (kHeadDim / 8) + lane() % 4;
#pragma unroll
    for (int part = 0; part < kHeadDim / 32; ++part) {
      uint32_t words[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int i = 4 * (4 * part + k) + 2 * row;
        words[k] = pack_bf16(out_[i], out_[i + 1]);
      }
      exchange<1>(words[0], words[1]);
      exchange<1>(words[2], words[3]);
      exchange<2>(words[0], words[2]);
      exchange<2>(words[1], words[3]);
      if (real) out[4 * part] = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
  // Of a 2 x 2 matrix with a row in this lane, a and b, and one in another: transposes it.
  template <int kDistance>
  __device__ __forceinline__ static void exchange(uint32_t& a, uint32_t& b) {
    const bool second = (lane() & kDistance) != 0;
    const uint32_t got = __shfl_xor_sync(0xffffffffu, second ? a : b, kDistance);
    (second ? a : b) = got;
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
