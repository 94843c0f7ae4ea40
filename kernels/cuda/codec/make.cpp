#include "kernels/cuda/codec/make.h"

#include "base/error.h"
#include "kernels/cuda/error.h"
#include "kernels/landmark_codec.h"

#include <span>
#include <string>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

namespace {

template <typename T>
const T* upload(std::span<const T> values, std::vector<void*>* owned) {
  void* memory = nullptr;
  KVG_CHECK_CUDA(cudaMalloc(&memory, values.size_bytes()));
  owned->push_back(memory);
  KVG_CHECK_CUDA(cudaMemcpy(memory, values.data(), values.size_bytes(), cudaMemcpyHostToDevice));
  // A few bytes are still on their way when the copy returns, and streams of contexts do not wait
  // for the one that it uses.
  KVG_CHECK_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  return static_cast<const T*>(memory);
}

// Row i of a site's matrix P is P^T e_i.
std::vector<float> haar_matrices(const Codec& codec, int32_t layers, int kv_heads) {
  const int64_t d = codec.head_dim();
  std::vector<float> matrices(static_cast<size_t>(layers * kv_heads * 2 * d * d), 0.0f);
  float* matrix = matrices.data();
  for (int32_t layer = 0; layer < layers; ++layer) {
    for (int32_t head = 0; head < kv_heads; ++head) {
      for (const bool value : {false, true}) {
        for (int64_t i = 0; i < d; ++i) matrix[i * d + i] = 1.0f;
        codec.from_frame(CodecSite{layer, head, value}, matrix, d);
        matrix += d * d;
      }
    }
  }
  return matrices;
}

}  // namespace

DeviceCodec make_device_codec(const Codec& codec, int32_t layers, int kv_heads,
                              std::vector<void*>* owned) {
  const int head_dim = codec.head_dim();
  if (head_dim != 64 && head_dim != 128) {
    throw Error("CUDA codec", "head_dim", std::to_string(head_dim), "64 or 128");
  }
  const CodecSpec& spec = codec.spec();
  DeviceCodec device;
  device.kind = spec.kind;
  device.fp8_scale = spec.fp8_scale;
  device.rotates = codec.rotates();
  device.scaled = codec.scale_bytes() > 0;
  device.head_dim = head_dim;
  device.code_bytes = static_cast<int32_t>(codec.code_bytes());
  if (spec.kind == CodecKind::eden) {
    device.bits = static_cast<uint8_t>(spec.bits);
    device.scale = spec.scale;
    device.rotation = spec.rotation;
    device.seed = spec.seed;
  }
  if (device.rotates && spec.rotation == Rotation::haar) {
    device.haar = upload<float>(haar_matrices(codec, layers, kv_heads), owned);
    device.haar_heads = kv_heads;
  }
  if (const std::span<const int32_t> band = band_of(codec); !band.empty()) {
    std::vector<int16_t> index(static_cast<size_t>(head_dim), int16_t{-1});
    for (size_t i = 0; i < band.size(); ++i) {
      index[static_cast<size_t>(band[i])] = static_cast<int16_t>(i);
    }
    device.band = upload<int32_t>(band, owned);
    device.band_count = static_cast<int32_t>(band.size());
    device.band_index = upload<int16_t>(index, owned);
  }
  return device;
}

}  // namespace kvg::cuda
