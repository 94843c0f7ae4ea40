#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/hopper/cluster.cuh"

#include <cstdint>

// The instructions of compute capability 9.0 with which the CTAs of a cluster hand each other data,
// one wrapper each, named after the instruction. Barriers and fences of one CTA:
// hopper/barrier.cuh; addresses in other CTAs: hopper/cluster.cuh.
namespace kvg::cuda {

using hopper::mapa;

// kBytes, 4 or 8, from global to shared memory; like cp_async_16().
template <int kBytes>
__device__ inline void cp_async_ca(uint32_t shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared), "l"(global), "n"(kBytes)
               : "memory");
}

// Of `threads` threads of a CTA, whole warps, that share barrier `id`, 1 to 15.
__device__ inline void bar_sync(int id, int threads) {
  __syncwarp();  // the instruction is a warp's
  hopper::named_barrier_wait(id, threads);
}

__device__ inline bool mbarrier_try_wait(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(shared_u32(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}
// Waits for the end of the phase of this parity; what came with it is then visible. The lanes of a
// warp leave together: apart, each of their shuffles would have to bring them together again, which
// made everything after a wait two to three times slower.
__device__ inline void mbarrier_wait(uint64_t* barrier, uint32_t parity) {
  while (__any_sync(0xffffffffu, mbarrier_try_wait(barrier, parity) ? 0 : 1) != 0) {
  }
}

// Whether it is over, without waiting; the lanes of a warp agree.
__device__ inline bool mbarrier_test(uint64_t* barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(shared_u32(barrier)), "r"(parity)
      : "memory");
  return __all_sync(0xffffffffu, static_cast<int>(done)) != 0;
}

// `bytes`, a multiple of 16, from shared memory here to addresses of mapa(); `barrier` lies in the
// same CTA as `to`.
__device__ inline void cp_async_bulk_to_peer(uint32_t to, const void* from, uint32_t bytes,
                                             uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(to),
      "r"(shared_u32(from)), "r"(bytes), "r"(barrier)
      : "memory");
}

// Four words to an address of mapa(), counted as 16 bytes by `barrier` there.
__device__ inline void st_async(uint32_t to, const int (&words)[4], uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(to),
      "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]), "r"(barrier)
      : "memory");
}

// `bytes`, a multiple of 16, from shared to global memory, both aligned to 16, as part of the
// thread's next group.
__device__ inline void cp_async_bulk_store(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_u32(from)), "r"(bytes)
               : "memory");
}
__device__ inline void cp_async_bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until shared memory of all groups has been read.
__device__ inline void cp_async_bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
// Until all groups are in global memory.
__device__ inline void cp_async_bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

}  // namespace kvg::cuda
