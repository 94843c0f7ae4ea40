#include "kernels/cuda/attention/prefill_stage.h"
#include "kernels/cuda/codec/tile.cuh"

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;

// A thread block a stage and KV head.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    prefill_stage_kernel(const __grid_constant__ PrefillStageLaunch p) {
  const PrefillStage stage = p.stages[blockIdx.x];
  const DeviceCodec& codec = p.codecs[stage.codec];
  constexpr int kChunks = kHeadDim / 8;
  const int64_t head = blockIdx.y;
  const uint8_t* codes = stage.codes + head * stage.capacity * codec.code_bytes;
  auto* to = reinterpret_cast<uint4*>(stage.to) + head * stage.count * kChunks;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < stage.count * kChunks; i += kThreads) {
    int slot = stage.first_slot + i / kChunks;
    if (slot >= stage.capacity) slot -= stage.capacity;
    to[i] = unrotated_chunk(codec, codes + int64_t{slot} * codec.code_bytes, i % kChunks);
  }
}

}  // namespace

cudaError_t launch(const PrefillStageLaunch& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(p.count), static_cast<unsigned>(p.kv_heads));
  if (p.head_dim == 64) {
    prefill_stage_kernel<64><<<grid, kThreads, 0, stream>>>(p);
  } else {
    prefill_stage_kernel<128><<<grid, kThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace kvg::cuda
