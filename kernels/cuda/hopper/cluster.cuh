#pragma once

#include "kernels/cuda/hopper/barrier.cuh"

#include <cstdint>

// Thread blocks of a cluster, which reach each other's shared memory. One instruction a function,
// or two where an address is translated.
namespace kvg::cuda::hopper {

__device__ __forceinline__ int cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}

// All threads of all thread blocks.
__device__ __forceinline__ void synchronize_cluster() {
  asm volatile(
      "barrier.cluster.arrive.aligned;\n"
      "barrier.cluster.wait.aligned;" ::
          : "memory");
}

// Arrives at the same barrier of thread block `rank`. Nothing that was written is published: for
// stages that were only read.
__device__ __forceinline__ void arrive_at(uint64_t* barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(shared_u32(barrier)),
      "r"(rank)
      : "memory");
}

// Stores to the same place of thread block `rank`, whose barrier counts the four bytes.
__device__ __forceinline__ void store_at(int32_t* to, uint64_t* barrier, int rank, int32_t value) {
  asm volatile(
      "{\n"
      ".reg .b32 there, counted;\n"
      "mapa.shared::cluster.u32 there, %0, %2;\n"
      "mapa.shared::cluster.u32 counted, %1, %2;\n"
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.s32 [there], %3, [counted];\n"
      "}\n" ::"r"(shared_u32(to)),
      "r"(shared_u32(barrier)), "r"(rank), "r"(value)
      : "memory");
}

}  // namespace kvg::cuda::hopper
