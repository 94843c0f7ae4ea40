#pragma once

#include "kernels/cuda/codec/device_codec.h"

#include <cstdint>

#include <cuda_runtime_api.h>

// Kernels around the device functions of this folder, for its tests.
namespace kvg::cuda {

// One load_tile, written back plainly.
struct TileTestLaunch {
  DeviceCodec codec;
  const uint8_t* codes = nullptr;
  const uint16_t* scales = nullptr;
  int64_t capacity = 0;
  int64_t first = 0;
  int rows = 0;
  int tile_rows = 0;        // at most 64
  float* out = nullptr;     // [tile_rows, head_dim], without scales
  float* factor = nullptr;  // [tile_rows]
};

// Rotates vectors into the codec's frame, or out of it.
struct FrameTestLaunch {
  DeviceCodec codec;
  int layer = 0;
  int kv_head = 0;
  bool value = false;
  bool back = false;
  float* x = nullptr;  // [rows, head_dim], in place
  int rows = 0;
};

// Floats of any precision (stores take bf16) into codes, and back from them; codecs without scales.
struct FloatTestLaunch {
  DeviceCodec codec;
  const float* x = nullptr;  // [rows, head_dim]
  uint8_t* codes = nullptr;  // [rows, code_bytes]
  float* back = nullptr;     // [rows, head_dim]
  int rows = 0;
};

cudaError_t launch(const TileTestLaunch& params, cudaStream_t stream);
cudaError_t launch(const FrameTestLaunch& params, cudaStream_t stream);
cudaError_t launch(const FloatTestLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
