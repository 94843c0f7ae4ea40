#pragma once

#include "kernels/cuda/attention/prefill_sm90_attend.cuh"
#include "kernels/cuda/attention/prefill_sm90_load.cuh"
#include "kernels/cuda/attention/prefill_sm90_plan.cuh"
#include "kernels/cuda/attention/prefill_sm90_planned.cuh"
#include "kernels/cuda/hopper/tensor_map.h"

#include <algorithm>
#include <cstdint>

// Attention of many queries on Hopper: wgmma fed by the copy engine, one thread block a
// multiprocessor, which draws items until there are none. See prefill_sm90_tile.cuh.
namespace kvg::cuda {

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    hopper_prefill_kernel(const __grid_constant__ HopperPrefillLaunch p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  // Without other shared memory this is the beginning of it, where panels are aligned; a place that
  // the compiler knows saves the registers of a base.
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<HopperShared<Tile>*>(raw);
  if (threadIdx.x == 0) {
    if (hopper::shared_u32(raw) % 1024 != 0) __trap();
    shared.init_barriers();
  }
  __syncthreads();
  // The same for all lanes of a warp, and the compiler may know it.
  const int warp = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0);
  if (warp < 4) {
    hopper::give_registers<Tile::kLoaderRegisters>();
    if (warp == 0) {
      if (threadIdx.x == 0) HopperCopier<Tile>(p, shared).run();
    } else if (warp == 1) {
      load_queries(p, shared);
    } else if (warp == 2) {
      HopperPlanner<Tile>(p, shared).run();
    } else {
      HopperFiller<Tile>(p, shared).run();
    }
  } else {
    hopper::take_registers<Tile::kConsumerRegisters>();
    HopperConsumer<HopperPlannedWork<Tile>>(p, shared, warp / 4 - 1).run();
  }
#endif
}

template <typename Tile>
cudaError_t launch_hopper_prefill(const PrefillLaunch& params, cudaStream_t stream) {
  HopperPrefillLaunch launch;
  launch.attention = params;
  launch.query_frame = params.query_frame;
  launch.counter = params.counter;
  launch.group_heads = params.heads / params.kv_heads;
  launch.group_reciprocal =
      static_cast<uint32_t>(((uint64_t{1} << 32) + launch.group_heads - 1) / launch.group_heads);
  launch.section_heads = params.kv_heads;
  while (params.most_slots * 4 * Tile::kHeadDim * launch.section_heads > kSectionBytes &&
         launch.section_heads % 2 == 0) {
    launch.section_heads /= 2;
  }
  // A map is of some memory, also where there is nothing to copy.
  const void* base = params.slot_base != nullptr ? params.slot_base : params.out;
  for (int i = 0; i < 4; ++i) {
    const cudaError_t status =
        hopper::make_row_map(&launch.maps[i], base, std::max<int64_t>(params.slot_rows, 1),
                             Tile::kHeadDim, kRowBoxes[i]);
    if (status != cudaSuccess) return status;
  }
  constexpr int kBytes = sizeof(HopperShared<Tile>);
  const auto* kernel = reinterpret_cast<const void*>(hopper_prefill_kernel<Tile>);
  cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  const int64_t items = int64_t{params.item_count} * params.kv_heads;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(items, params.multiprocessors));
  hopper_prefill_kernel<Tile><<<blocks, Tile::kThreads, kBytes, stream>>>(launch);
  return cudaGetLastError();
}

template <int kHeadDim>
cudaError_t launch_hopper_prefill(const PrefillLaunch& params, cudaStream_t stream) {
  return params.streams == 2 ? launch_hopper_prefill<HopperTile<kHeadDim, 2>>(params, stream)
                             : launch_hopper_prefill<HopperTile<kHeadDim, 1>>(params, stream);
}

}  // namespace kvg::cuda
