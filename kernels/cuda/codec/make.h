#pragma once

#include "kernels/codec.h"
#include "kernels/cuda/codec/device_codec.h"

#include <cstdint>
#include <vector>

namespace kvg::cuda {

// The descriptor of a codec for layers 0..layers-1. Tables that it needs are made on the current
// device with cudaMalloc and appended to `owned`, for the caller to free: the coordinates of a
// band; the matrices of a haar rotation, 4 head_dim^2 bytes for each of layers * kv_heads * 2 sites
// (and about 5 head_dim^3 multiplications on the host). Throws Error unless head_dim is 64 or 128.
DeviceCodec make_device_codec(const Codec& codec, int32_t layers, int kv_heads,
                              std::vector<void*>* owned);

}  // namespace kvg::cuda
