#pragma once

#include "base/random.h"
#include "kernels/codec.h"
#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/codec/make.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/landmark_codec.h"
#include "kernels/reference/slots.h"

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace kvg::cuda {

// A codec under test; `band`: coordinates of a band codec.
struct CodecCase {
  std::string name;
  CodecSpec spec;
  int head_dim = 128;
  std::vector<int32_t> band;

  std::unique_ptr<Codec> make() const {
    return band.empty() ? Codec::make(spec, head_dim) : make_band_codec(spec.kind, head_dim, band);
  }
};

inline void PrintTo(const CodecCase& codec_case, std::ostream* out) { *out << codec_case.name; }

inline std::vector<CodecCase> all_codec_cases() {
  std::vector<CodecCase> cases;
  for (const int d : {64, 128}) {
    const std::string at = "_d" + std::to_string(d);
    const auto add = [&](const std::string& name, const CodecSpec& spec) {
      cases.push_back({name + at, spec, d, {}});
    };
    add("f32", {.kind = CodecKind::f32});
    add("bf16", {.kind = CodecKind::bf16});
    add("fp8", {.kind = CodecKind::fp8});
    add("fp8_vector", {.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector});
    add("int8", {.kind = CodecKind::int8});
    for (int bits = 1; bits <= 4; ++bits) {
      for (const int scale : {0, 1, 2, 3}) {
        add("eden" + std::to_string(bits) + "_scale" + std::to_string(scale),
            {.kind = CodecKind::eden,
             .bits = bits,
             .scale = static_cast<EdenScale>(scale),
             .seed = 77});
      }
      for (const Rotation rotation : {Rotation::hd, Rotation::haar}) {
        add("eden" + std::to_string(bits) + (rotation == Rotation::hd ? "_hd" : "_haar"),
            {.kind = CodecKind::eden, .bits = bits, .rotation = rotation, .seed = 78});
      }
    }
    // Neither a multiple of eight coordinates nor neighbours.
    std::vector<int32_t> band;
    for (int32_t dim = 3; dim < d; dim += dim % 5 + 1) band.push_back(dim);
    cases.push_back({"band_f32" + at, {.kind = CodecKind::f32}, d, band});
    cases.push_back({"band_bf16" + at, {.kind = CodecKind::bf16}, d, band});
  }
  return cases;
}

// The descriptor of a codec, with its tables.
class TestCodec {
 public:
  TestCodec(const Codec& codec, int32_t layers, int kv_heads)
      : device_(make_device_codec(codec, layers, kv_heads, &owned_)) {}
  ~TestCodec() {
    for (void* memory : owned_) (void)cudaFree(memory);
  }
  TestCodec(const TestCodec&) = delete;
  TestCodec& operator=(const TestCodec&) = delete;
  const DeviceCodec& device() const { return device_; }

 private:
  std::vector<void*> owned_;
  DeviceCodec device_;
};

// One store, K and V with the same codec, on the host; the bytes are poisoned.
struct HostSlots {
  std::vector<uint8_t> k_codes, v_codes;
  std::vector<uint16_t> k_scales, v_scales;

  HostSlots(const Codec& codec, int kv_heads, int64_t capacity) {
    const auto slots = static_cast<size_t>(kv_heads * capacity);
    k_codes.assign(slots * static_cast<size_t>(codec.code_bytes()), 0xff);
    v_codes = k_codes;
    if (codec.scale_bytes() > 0) k_scales.assign(slots, 0xffff);
    v_scales = k_scales;
  }
  SlotStore store(const Codec& codec, int64_t capacity) {
    SlotStore store{&codec, &codec, capacity, k_codes.data(), v_codes.data(), nullptr, nullptr};
    if (!k_scales.empty()) {
      store.k_scales = k_scales.data();
      store.v_scales = v_scales.data();
    }
    return store;
  }
};

// The same on the device.
class TestSlots {
 public:
  TestSlots(const DeviceCodec& codec, int kv_heads, int64_t capacity)
      : code_bytes_(static_cast<size_t>(kv_heads * capacity * codec.code_bytes)),
        scale_count_(codec.scaled ? static_cast<size_t>(kv_heads * capacity) : 0),
        k_codes_(code_bytes_),
        v_codes_(code_bytes_),
        k_scales_(2 * scale_count_ + 2),
        v_scales_(2 * scale_count_ + 2) {
    slots_.k_codec = codec;
    slots_.v_codec = codec;
    slots_.capacity = capacity;
    slots_.k_codes = static_cast<uint8_t*>(k_codes_.data());
    slots_.v_codes = static_cast<uint8_t*>(v_codes_.data());
    if (codec.scaled) {
      slots_.k_scales = static_cast<uint16_t*>(k_scales_.data());
      slots_.v_scales = static_cast<uint16_t*>(v_scales_.data());
    }
  }
  const DeviceSlots& slots() const { return slots_; }

  void upload(const HostSlots& host) const { copy(host, cudaMemcpyHostToDevice); }
  void download(const HostSlots& host) const { copy(host, cudaMemcpyDeviceToHost); }

 private:
  static void copy_array(void* device, const void* host, size_t bytes, cudaMemcpyKind kind) {
    const bool up = kind == cudaMemcpyHostToDevice;
    KVG_CHECK_CUDA(
        cudaMemcpy(up ? device : const_cast<void*>(host), up ? host : device, bytes, kind));
  }
  void copy(const HostSlots& host, cudaMemcpyKind kind) const {
    copy_array(k_codes_.data(), host.k_codes.data(), code_bytes_, kind);
    copy_array(v_codes_.data(), host.v_codes.data(), code_bytes_, kind);
    copy_array(k_scales_.data(), host.k_scales.data(), 2 * scale_count_, kind);
    copy_array(v_scales_.data(), host.v_scales.data(), 2 * scale_count_, kind);
  }

  size_t code_bytes_, scale_count_;
  TestBuffer k_codes_, v_codes_, k_scales_, v_scales_;
  DeviceSlots slots_;
};

// Rows of very different length, one of them zero; exact in bf16.
inline std::vector<double> uneven_rows(int64_t rows, int64_t width, uint64_t seed) {
  std::vector<double> x = random_values(static_cast<size_t>(rows * width), DType::bf16, seed);
  for (int64_t row = 0; row < rows; ++row) {
    const double factor = row == rows / 2 ? 0.0 : std::exp2(static_cast<double>(row % 9 - 4));
    for (int64_t i = 0; i < width; ++i) x[static_cast<size_t>(row * width + i)] *= factor;
  }
  return x;
}

}  // namespace kvg::cuda
