#pragma once

#include "kernels/cuda/shared_u32.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// The instructions of attention from compute capability 8.0 up, one wrapper each, named after the
// instruction. A warp works together in ldmatrix and mma; with lane = 4 g + t (g = 0..7, t = 0..3)
// the fragments of mma.m16n8k16 hold two neighbouring columns (or k) a register, lower first:
//   A [16 x 16]:  a0 = (g, 2t)      a1 = (g + 8, 2t)  a2 = (g, 2t + 8)  a3 = (g + 8, 2t + 8)
//   B [16 x 8]:   b0 = (k = 2t, g)  b1 = (k = 2t + 8, g)
//   C [16 x 8]:   c0, c1 = (g, 2t), (g, 2t + 1);  c2, c3 = (g + 8, 2t), (g + 8, 2t + 1)
namespace kvg::cuda {

inline constexpr float kLog2E = 1.44269504088896340736f;

// Four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8
// (16-byte aligned, shared memory). Register m holds elements (g, 2t), (g, 2t + 1) of matrix m.
__device__ inline void ldmatrix_x4(uint32_t (&out)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

// The same with every matrix transposed: register m holds elements (2t, g), (2t + 1, g).
__device__ inline void ldmatrix_x4_trans(uint32_t (&out)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

// c += a b, bf16 operands, fp32 sums.
__device__ inline void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes from global to shared memory, both aligned to 16. Of them the first `bytes` are read and
// the others are zero; with 0 nothing is read.
__device__ inline void cp_async_16(uint32_t shared, const void* global, int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared), "l"(global), "r"(bytes)
               : "memory");
}

__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` of this thread's committed groups are still under way.
template <int kPending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Two floats as bf16 in one register, `low` in the lower half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// 2^x; 0 for -infinity. Relative error below 2^-22.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace kvg::cuda
