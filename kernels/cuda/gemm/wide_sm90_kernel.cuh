#pragma once

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/gemm/wide_sm90_result.cuh"
#include "kernels/cuda/gemm/wide_sm90_tile.cuh"
#include "kernels/cuda/hopper/barrier.cuh"
#include "kernels/cuda/hopper/cluster.cuh"
#include "kernels/cuda/hopper/wgmma_columns.cuh"

#include <cstdint>

namespace kvg::cuda {

template <int kStages>
struct WideRing {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Drives the copy engine. One thread.
template <typename Tile, WideResult kResult>
class WideLoader {
 public:
  __device__ WideLoader(const WideParams& p, WideShared<Tile>& shared)
      : p_(p),
        shared_(shared),
        rank_(hopper::cluster_rank()),
        bytes_(static_cast<uint32_t>((p.tile_rows + Tile::kRows) * kWideStep * 2)),
        weight_policy_(hopper::evict_first()),
        x_policy_(hopper::evict_last()) {}

  __device__ void run(int cluster, int clusters) {
    int started = 0;
    for (int index = cluster; index < p_.groups * p_.splits; index += clusters) {
      const WideItem item = WideItem::at(p_, index);
      int step = item.begin;
      if (started == 0) {
        // Weights are on their way before the previous launch is done.
        started = min(Tile::kStages, item.end - item.begin);
        for (int i = 0; i < started; ++i) load_weight(item.group, step + i, i);
        wait_for_previous_launch();
        for (int i = 0; i < started; ++i) load_x(step + i, i);
        step += started;
        for (int i = 0; i < started; ++i) ring_.advance();
      }
      for (; step < item.end; ++step) {
        hopper::wait(&shared_.empty[ring_.stage], ring_.parity ^ 1);
        load_weight(item.group, step, ring_.stage);
        load_x(step, ring_.stage);
        ring_.advance();
      }
    }
    allow_next_launch();
  }

 private:
  __device__ void load_weight(int group, int step, int stage) {
    uint64_t* full = &shared_.full[stage];
    hopper::arrive_and_expect(full, bytes_);
    const uint32_t to = hopper::shared_u32(shared_.weight[stage]);
    const int row = (group * kWideCluster + rank_) * p_.tile_rows;
    if constexpr (kResult == WideResult::gated) {
      hopper::copy_box_of_blocks(to, &p_.weight, full, step * kWideStep, row / 16, weight_policy_);
    } else {
      hopper::copy_box(to, &p_.weight, full, step * kWideStep, row, weight_policy_);
    }
  }
  __device__ void load_x(int step, int stage) {
    constexpr int kOwn = Tile::kRows / kWideCluster;
    hopper::copy_box_to_blocks(hopper::shared_u32(shared_.x[stage][kOwn * rank_]), &p_.x,
                               &shared_.full[stage], step * kWideStep, kOwn * rank_,
                               (1 << kWideCluster) - 1, x_policy_);
  }

  const WideParams& p_;
  WideShared<Tile>& shared_;
  int rank_;
  uint32_t bytes_;  // of a stage
  uint64_t weight_policy_, x_policy_;
  WideRing<Tile::kStages> ring_;
};

// One warpgroup: 64 rows of W of each tile, or what the tile has of them.
template <typename Tile, WideResult kResult>
class WideConsumer {
 public:
  __device__ WideConsumer(const WideParams& p, WideShared<Tile>& shared, int unit)
      : p_(p), shared_(shared), unit_(unit), thread_(static_cast<int>(threadIdx.x) % 128) {}

  __device__ void run(int cluster, int clusters) {
    wait_for_previous_launch();
    WideWriter<Tile, kResult> writer(p_, shared_, unit_, thread_);
    for (int index = cluster; index < p_.groups * p_.splits; index += clusters) {
      const WideItem item = WideItem::at(p_, index);
      float sums[Tile::kSums];
      multiply(sums, item.end - item.begin);
      const int tile = item.group * kWideCluster + hopper::cluster_rank();
      if (kResult == WideResult::f32 || p_.splits == 1) {
        writer.write_all(sums, tile);
      } else {
        writer.join(sums, tile, item.split);
      }
    }
  }

 private:
  __device__ __forceinline__ void multiply(float (&sums)[Tile::kSums], int steps) {
    int before = 0;
    for (int i = 0; i < steps; ++i) {
      const int stage = ring_.stage;
      hopper::wait(&shared_.full[stage], ring_.parity);
      const hopper::DescriptorLow a =
          hopper::along_columns(hopper::shared_u32(shared_.weight[stage][64 * unit_]));
      const hopper::DescriptorLow b = hopper::along_columns(hopper::shared_u32(shared_.x[stage]));
      hopper::begin_products();
#pragma unroll
      for (int k = 0; k < kWideStep / 16; ++k) {
        hopper::multiply_columns(sums, hopper::descriptor(hopper::offset_by(a, 32 * k)),
                                 hopper::descriptor(hopper::offset_by(b, 32 * k)), i > 0 || k > 0);
      }
      hopper::commit_products();
      hopper::wait_for_products<1>();
      if (i > 0) release(before);
      before = stage;
      ring_.advance();
    }
    hopper::wait_for_products<0>();
    hopper::pin_registers(sums);
    release(before);
  }
  // A stage may be filled again once both blocks that its copies go to are done with it.
  __device__ __forceinline__ void release(int stage) {
    if (thread_ < kWideCluster) hopper::arrive_at(&shared_.empty[stage], thread_);
  }

  const WideParams& p_;
  WideShared<Tile>& shared_;
  int unit_, thread_;
  WideRing<Tile::kStages> ring_;
};

template <typename Tile, WideResult kResult>
__global__ void __launch_bounds__(kWideThreads, 1)
    wide_product_kernel(const __grid_constant__ WideParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<WideShared<Tile>*>(raw);
  if (threadIdx.x == 0) {
    if (hopper::shared_u32(raw) % 1024 != 0) __trap();
    for (int i = 0; i < Tile::kStages; ++i) {
      hopper::init_barrier(&shared.full[i], 1);
      hopper::init_barrier(&shared.empty[i], kWideUnits * kWideCluster);
    }
    hopper::fence_barrier_init();
  }
  hopper::sync_cluster();
  const int cluster = static_cast<int>(blockIdx.x) / kWideCluster;
  const int clusters = static_cast<int>(gridDim.x) / kWideCluster;
  // The same for all lanes of a warp, and the compiler may know it.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  if (warp < 4) {
    hopper::give_registers<kWideLoaderRegisters>();
    if (threadIdx.x == 0) WideLoader<Tile, kResult>(p, shared).run(cluster, clusters);
  } else {
    hopper::take_registers<kWideConsumerRegisters>();
    WideConsumer<Tile, kResult>(p, shared, warp / 4 - 1).run(cluster, clusters);
  }
  // The other block of the cluster may still send to this one and arrive at its barriers.
  __syncwarp();
  hopper::sync_cluster();
#endif
}

}  // namespace kvg::cuda
