#pragma once

#include "kernels/cuda/attention/prefill_sm90_attend.cuh"
#include "kernels/cuda/attention/prefill_sm90_dense.cuh"
#include "kernels/cuda/attention/prefill_sm90_dense_load.cuh"
#include "kernels/cuda/hopper/tensor_map.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace kvg::cuda {

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    dense_prefill_kernel(const __grid_constant__ HopperDenseLaunch p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  // As in hopper_prefill_kernel.
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<HopperDenseShared<Tile>*>(raw);
  if (threadIdx.x == 0) {
    if (hopper::shared_u32(raw) % 1024 != 0) __trap();
    shared.init_barriers();
  }
  if constexpr (Tile::kCluster > 1) {
    hopper::sync_cluster();
  } else {
    __syncthreads();
  }
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  if (warp < 4) {
    hopper::give_registers<Tile::kLoaderRegisters>();
    if (threadIdx.x == 0) HopperDenseCopier<Tile>(p, shared).run();
    if (threadIdx.x == 32) HopperDensePlanner<Tile>(p, shared).run();
  } else {
    hopper::take_registers<Tile::kConsumerRegisters>();
    HopperConsumer<HopperDenseWork<Tile>>(p, shared, warp / 4 - 1).run();
  }
  if constexpr (Tile::kCluster > 1) {  // no thread block leaves while another may still write to it
    __syncwarp();
    hopper::sync_cluster();
  }
#endif
}

// Maps of the call's memory and what else its arguments hold.
template <typename Tile>
cudaError_t describe(const PrefillLaunch& params, HopperDenseLaunch* launch) {
  constexpr int kHeadDim = Tile::kHeadDim;
  launch->attention = params;
  launch->unit_heads = params.unit_heads;
  launch->unit_shift = std::countr_zero(static_cast<uint32_t>(params.unit_heads));
  launch->group_heads = params.heads / params.kv_heads;
  launch->sets = params.heads / params.unit_heads;
  int section_heads = params.kv_heads;
  while (params.most_slots * 4 * kHeadDim * section_heads > kSectionBytes &&
         section_heads % 2 == 0) {
    section_heads /= 2;
  }
  launch->section_sets = section_heads * launch->group_heads / params.unit_heads;

  const int64_t vector = kHeadDim, row = vector * params.heads;
  const auto* q = static_cast<const uint16_t*>(params.q) +
                  params.query_frame * params.rows * params.streams * row;
  // Two streams: eight units of both, which are 16 packed rows.
  const int box_rows = (Tile::kStreams == 2 ? 8 : Tile::kRows) / params.unit_heads;
  cudaError_t status = hopper::make_map(
      &launch->query_map, q,
      std::array<int64_t, 4>{kHeadDim, params.heads, params.rows, Tile::kStreams},
      std::array<int64_t, 3>{vector, row * Tile::kStreams, row},
      std::array{hopper::kPanelColumns, params.unit_heads, box_rows, Tile::kStreams});
  for (int i = 0; i < params.block_count && status == cudaSuccess; ++i) {
    const PrefillBlock& block = params.host_blocks[i];
    const PrefillGroup& group = params.host_groups[block.group_begin];
    launch->blocks[i] = {static_cast<int32_t>(block.row_begin), block.rows, group.count,
                         group.newest, group.window};
    const std::array<int64_t, 3> sizes{kHeadDim, group.count, params.kv_heads};
    const std::array<int64_t, 2> strides{vector, vector * group.capacity};
    const std::array box{hopper::kPanelColumns, Tile::kSlots / Tile::kCluster, 1};
    const int64_t first = int64_t{2} * group.first_slot * kHeadDim;  // bytes
    status = hopper::make_map(&launch->k_maps[i], group.k_codes + first, sizes, strides, box);
    if (status != cudaSuccess) break;
    status = hopper::make_map(&launch->v_maps[i], group.v_codes + first, sizes, strides, box);
  }
  return status;
}

template <typename Tile>
cudaError_t launch_dense_prefill(const PrefillLaunch& params, cudaStream_t stream) {
  HopperDenseLaunch launch;
  cudaError_t status = describe<Tile>(params, &launch);
  if (status != cudaSuccess) return status;
  constexpr int kBytes = sizeof(HopperDenseShared<Tile>);
  const auto* kernel = reinterpret_cast<const void*>(dense_prefill_kernel<Tile>);
  status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchConfig_t config = {};
  config.blockDim = Tile::kThreads;
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {Tile::kCluster, 1, 1};
  int64_t clusters = params.multiprocessors;
  if constexpr (Tile::kCluster > 1) {
    config.attrs = &cluster;
    config.numAttrs = 1;
    // Those that run at a time, because the first items, the longest, are not drawn.
    static int most = 0;
    if (most == 0) {
      config.gridDim = Tile::kCluster;
      status = cudaOccupancyMaxActiveClusters(&most, kernel, &config);
      if (status != cudaSuccess) return status;
    }
    clusters = most;
  }
  const int64_t items = int64_t{params.item_count} * launch.sets;
  config.gridDim = static_cast<unsigned>(Tile::kCluster * std::min(items, clusters));
  return cudaLaunchKernelEx(&config, dense_prefill_kernel<Tile>, launch);
}

template <int kHeadDim>
cudaError_t launch_dense_prefill(const PrefillLaunch& params, cudaStream_t stream) {
  return params.streams == 2 ? launch_dense_prefill<HopperDenseTile<kHeadDim, 2>>(params, stream)
                             : launch_dense_prefill<HopperDenseTile<kHeadDim, 1>>(params, stream);
}

}  // namespace kvg::cuda
