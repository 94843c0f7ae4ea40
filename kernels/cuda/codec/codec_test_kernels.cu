#include "kernels/cuda/codec/codec_test_kernels.h"
#include "kernels/cuda/codec/tile.cuh"
#include "kernels/cuda/codec/warp.cuh"

namespace kvg::cuda {

namespace {

constexpr int kTileThreads = 96;  // no divisor of the work, so that threads get unequal shares
constexpr int kMaxRows = 64;

template <int kHeadDim>
__global__ void tile_kernel(const TileTestLaunch p) {
  __shared__ __align__(16) __nv_bfloat16 tile[kMaxRows * kHeadDim];
  __shared__ float factors[kMaxRows];
  const auto thread = static_cast<int>(threadIdx.x);
  load_tile<kHeadDim>(p.codec, p.codes, p.scales, p.capacity, p.first, p.rows, p.tile_rows, tile,
                      factors, thread, kTileThreads);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  for (int i = thread; i < p.tile_rows * kHeadDim; i += kTileThreads) {
    const int row = i / kHeadDim;
    const int column = i % kHeadDim;
    p.out[i] = __bfloat162float(tile[tile_chunk<kHeadDim>(row, column / 8) + column % 8]);
  }
  for (int row = thread; row < p.tile_rows; row += kTileThreads) p.factor[row] = factors[row];
}

template <int kHeadDim>
__global__ void frame_kernel(const FrameTestLaunch p) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  float* vector = p.x + int64_t{blockIdx.x} * kHeadDim + lane_id() * kWidth;
  float x[kWidth];
  for (int i = 0; i < kWidth; ++i) x[i] = vector[i];
  if (p.back) {
    warp_from_frame<kHeadDim>(p.codec, p.layer, p.kv_head, p.value, x);
  } else {
    warp_to_frame<kHeadDim>(p.codec, p.layer, p.kv_head, p.value, x);
  }
  for (int i = 0; i < kWidth; ++i) vector[i] = x[i];
}

template <int kHeadDim>
__global__ void float_kernel(const FloatTestLaunch p) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  const int64_t first = int64_t{blockIdx.x} * kHeadDim + lane_id() * kWidth;
  uint8_t* codes = p.codes + int64_t{blockIdx.x} * p.codec.code_bytes;
  float x[kWidth];
  for (int i = 0; i < kWidth; ++i) x[i] = p.x[first + i];
  warp_encode<kHeadDim>(p.codec, 0, 0, false, x, codes, nullptr);
  __syncwarp();
  warp_decode<kHeadDim>(p.codec, codes, nullptr, x);
  for (int i = 0; i < kWidth; ++i) p.back[first + i] = x[i];
}

}  // namespace

cudaError_t launch(const TileTestLaunch& p, cudaStream_t stream) {
  if (p.tile_rows > kMaxRows) return cudaErrorInvalidValue;
  if (p.codec.head_dim == 64) {
    tile_kernel<64><<<1, kTileThreads, 0, stream>>>(p);
  } else {
    tile_kernel<128><<<1, kTileThreads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

cudaError_t launch(const FloatTestLaunch& p, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(p.rows);
  if (p.codec.head_dim == 64) {
    float_kernel<64><<<blocks, 32, 0, stream>>>(p);
  } else {
    float_kernel<128><<<blocks, 32, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

cudaError_t launch(const FrameTestLaunch& p, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(p.rows);
  if (p.codec.head_dim == 64) {
    frame_kernel<64><<<blocks, 32, 0, stream>>>(p);
  } else {
    frame_kernel<128><<<blocks, 32, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace kvg::cuda
