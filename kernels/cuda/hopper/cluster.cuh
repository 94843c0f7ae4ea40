#pragma once

#include "kernels/cuda/hopper/barrier.cuh"

#include <cstdint>

#include <cuda.h>

// Thread blocks of a cluster and copies to several of them at once. One instruction a function,
// beside the one that makes its address.
namespace kvg::cuda::hopper {

__device__ __forceinline__ int cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
// All threads of the cluster; what they wrote before is seen after.
__device__ __forceinline__ void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// The address, in the shared memory of block `rank`, of what lies at `mine` here.
__device__ __forceinline__ uint32_t mapa(const void* mine, int rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_u32(mine)), "r"(rank));
  return address;
}
// At the barrier that block `rank` has at the place of this one. Says that this thread has read
// what it waited for; what it wrote is not published to the other block, which would take a
// microsecond.
__device__ __forceinline__ void arrive_at(uint64_t* barrier, int rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(mapa(barrier, rank))
               : "memory");
}

// Stores to the same place of thread block `rank`, whose barrier counts the four bytes.
__device__ __forceinline__ void store_at(int32_t* to, uint64_t* barrier, int rank, int32_t value) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.s32 [%0], %1, [%2];" ::"r"(
          mapa(to, rank)),
      "r"(value), "r"(mapa(barrier, rank))
      : "memory");
}

// How the second-level cache treats what a copy reads.
__device__ __forceinline__ uint64_t evict_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t evict_last() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// copy_box() with a cache policy.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap* map, uint64_t* barrier,
                                         int column, int row, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(to),
      "l"(map), "r"(shared_u32(barrier)), "r"(column), "r"(row), "l"(policy)
      : "memory");
}
// The box at (column, 0, 0, block) of four dimensions.
__device__ __forceinline__ void copy_box_of_blocks(uint32_t to, const CUtensorMap* map,
                                                   uint64_t* barrier, int column, int block,
                                                   uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(map), "r"(shared_u32(barrier)), "r"(column), "r"(0), "r"(block), "l"(policy)
      : "memory");
}
// To the same place in every block of `blocks`, a bit each, where that block's barrier counts.
__device__ __forceinline__ void copy_box_to_blocks(uint32_t to, const CUtensorMap* map,
                                                   uint64_t* barrier, int column, int row,
                                                   uint16_t blocks, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(to),
      "l"(map), "r"(shared_u32(barrier)), "r"(column), "r"(row), "h"(blocks), "l"(policy)
      : "memory");
}

// Transposes 8 x 8 matrices of 16 bits on their way to shared memory: lane l gives the address of
// row l % 8 of matrix l / 8, 16 bytes; its registers hold rows 2 (l % 4) + {0, 1}, column l / 4.
__device__ __forceinline__ void store_transposed(uint32_t to, uint32_t a, uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(to), "r"(a),
               "r"(b)
               : "memory");
}
__device__ __forceinline__ void store_transposed(uint32_t to, uint32_t a, uint32_t b, uint32_t c,
                                                 uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

}  // namespace kvg::cuda::hopper
