#pragma once

#include "kernels/cuda/codec/device_codec.h"

// Which codecs a kernel can meet. of() tells the compiler, which then leaves out the code for all
// others: in short caches blocks last hardly longer than fetching their instructions takes.
namespace kvg::cuda {

struct AnyCodec {
  __device__ static const DeviceCodec& of(const DeviceCodec& codec) { return codec; }
};

// bf16, f32 and their bands.
struct PlainCodecs {
  __device__ static DeviceCodec of(DeviceCodec codec) {
    codec.rotates = false;
    codec.scaled = false;
    if (codec.kind != CodecKind::f32) codec.kind = CodecKind::bf16;
    return codec;
  }
};

template <int kBits>
struct EdenCodec {
  __device__ static DeviceCodec of(DeviceCodec codec) {
    codec.kind = CodecKind::eden;
    codec.bits = kBits;
    codec.scaled = true;
    codec.band = nullptr;
    codec.band_index = nullptr;
    return codec;
  }
};

struct Fp8Codec {
  __device__ static DeviceCodec of(DeviceCodec codec) {
    codec.kind = CodecKind::fp8;
    codec.rotates = false;
    codec.band = nullptr;
    codec.band_index = nullptr;
    return codec;
  }
};

struct Int8Codec {
  __device__ static DeviceCodec of(DeviceCodec codec) {
    codec.kind = CodecKind::int8;
    codec.rotates = false;
    codec.scaled = true;
    codec.band = nullptr;
    codec.band_index = nullptr;
    return codec;
  }
};

}  // namespace kvg::cuda
