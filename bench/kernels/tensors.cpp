#include "bench/kernels/tensors.h"

#include "base/error.h"
#include "bench/kernels/fill.h"
#include "kernels/convert.h"
#include "kernels/cuda/codec/store.h"
#include "kernels/cuda/error.h"

#include <cstring>
#include <limits>

namespace kvg {

namespace {

bool is_real(DType type) { return type == DType::bf16 || type == DType::f32; }

class HostTensors : public Tensors {
 public:
  HostTensors(Ops& ops, uint64_t seed) : Tensors(seed), ops_(ops) {}

  Tensor random(DType type, Shape shape, double scale, double offset) override {
    const Tensor tensor = allocate(DType::f64, shape);
    const uint64_t seed = next_seed();
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      const float value = uniform_value(seed, static_cast<uint64_t>(i), static_cast<float>(scale),
                                        static_cast<float>(offset));
      tensor.as<double>()[i] = type == DType::bf16 ? bf16_to_float(float_to_bf16(value)) : value;
    }
    return tensor;
  }
  Tensor reals(DType type, Shape shape, const std::vector<float>& values) override {
    const Tensor tensor = allocate(DType::f64, shape);
    for (size_t i = 0; i < values.size(); ++i) {
      tensor.as<double>()[i] =
          type == DType::bf16 ? bf16_to_float(float_to_bf16(values[i])) : values[i];
    }
    return tensor;
  }
  Tensor output(DType type, Shape shape) override {
    const Tensor tensor = allocate(is_real(type) ? DType::f64 : type, shape);
    std::memset(tensor.data, 0xff, tensor.bytes());
    return tensor;
  }
  Tensor integers(const std::vector<int64_t>& values) override { return copy(values, DType::i64); }
  Tensor tokens(const std::vector<int32_t>& values) override { return copy(values, DType::i32); }
  uint8_t* memory(size_t bytes) override {
    buffers_.push_back(ops_.allocate(bytes));
    total_ += bytes;
    return static_cast<uint8_t*>(buffers_.back()->data());
  }
  void fill(const SlotStore& store, int kv_heads, int32_t layer, int64_t rows) override {
    const int64_t head_dim = store.k_codec->head_dim();
    StoreParams p;
    p.k = random(DType::bf16, {rows, kv_heads, head_dim}, 1, 0);
    p.v = random(DType::bf16, {rows, kv_heads, head_dim}, 1, 0);
    p.layer = layer;
    p.store = store;
    ops_.store(p);
  }

 private:
  Tensor allocate(DType type, Shape shape) {
    Tensor tensor(nullptr, type, Device::cpu, shape);
    tensor.data = memory(tensor.bytes());
    return tensor;
  }
  template <typename T>
  Tensor copy(const std::vector<T>& values, DType type) {
    const Tensor tensor = allocate(type, {std::ssize(values)});
    std::memcpy(tensor.data, values.data(), tensor.bytes());
    return tensor;
  }

  Ops& ops_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

class DeviceTensors : public Tensors {
 public:
  DeviceTensors(cuda::CudaContext& context, uint64_t seed) : Tensors(seed), context_(context) {}

  Tensor random(DType type, Shape shape, double scale, double offset) override {
    const Tensor tensor = allocate(type, shape);
    KVG_CHECK_CUDA(fill_uniform(tensor.data, type, tensor.elements(), next_seed(),
                                static_cast<float>(scale), static_cast<float>(offset),
                                context_.stream()));
    return tensor;
  }
  Tensor reals(DType type, Shape shape, const std::vector<float>& values) override {
    const Tensor tensor = allocate(type, shape);
    std::vector<uint8_t> raw(tensor.bytes());
    Tensor rounded = tensor;
    rounded.data = raw.data();
    rounded.device = Device::cpu;
    Tensor given = rounded;
    given.dtype = DType::f32;
    std::vector<float> from = values;
    given.data = from.data();
    convert(given, rounded);
    KVG_CHECK_CUDA(cudaMemcpyAsync(tensor.data, raw.data(), raw.size(), cudaMemcpyHostToDevice,
                                   context_.stream()));
    context_.synchronize();
    return tensor;
  }
  Tensor output(DType type, Shape shape) override {
    const Tensor tensor = allocate(type, shape);
    KVG_CHECK_CUDA(cudaMemsetAsync(tensor.data, 0xff, tensor.bytes(), context_.stream()));
    return tensor;
  }
  Tensor integers(const std::vector<int64_t>& values) override { return copy(values, DType::i64); }
  Tensor tokens(const std::vector<int32_t>& values) override { return copy(values, DType::i32); }
  uint8_t* memory(size_t bytes) override {
    buffers_.push_back(context_.allocate(bytes));
    total_ += bytes;
    return static_cast<uint8_t*>(buffers_.back()->data());
  }
  void fill(const SlotStore& store, int kv_heads, int32_t layer, int64_t rows) override {
    const int64_t head_dim = store.k_codec->head_dim();
    StoreParams p;
    p.k = random(DType::bf16, {rows, kv_heads, head_dim}, 1, 0);
    p.v = random(DType::bf16, {rows, kv_heads, head_dim}, 1, 0);
    p.layer = layer;
    p.store = store;
    cuda::store(context_, p);
    for (const Tensor* used : {&p.k, &p.v}) {  // not part of what is timed
      total_ -= used->bytes();
      buffers_.pop_back();
    }
  }

 private:
  Tensor allocate(DType type, Shape shape) {
    Tensor tensor(nullptr, type, Device::cuda, shape);
    tensor.data = memory(tensor.bytes());
    return tensor;
  }
  template <typename T>
  Tensor copy(const std::vector<T>& values, DType type) {
    const Tensor tensor = allocate(type, {std::ssize(values)});
    KVG_CHECK_CUDA(cudaMemcpyAsync(tensor.data, values.data(), tensor.bytes(),
                                   cudaMemcpyHostToDevice, context_.stream()));
    context_.synchronize();
    return tensor;
  }

  cuda::CudaContext& context_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

}  // namespace

std::unique_ptr<Tensors> make_host_tensors(Ops& reference, uint64_t seed) {
  return std::make_unique<HostTensors>(reference, seed);
}

std::unique_ptr<Tensors> make_device_tensors(cuda::CudaContext& context, uint64_t seed) {
  return std::make_unique<DeviceTensors>(context, seed);
}

std::vector<double> read(cuda::CudaContext& context, const Tensor& tensor) {
  const auto n = static_cast<size_t>(tensor.elements());
  std::vector<uint8_t> raw(tensor.bytes());
  if (tensor.device == Device::cuda) {
    KVG_CHECK_CUDA(cudaMemcpyAsync(raw.data(), tensor.data, raw.size(), cudaMemcpyDeviceToHost,
                                   context.stream()));
    context.synchronize();
  } else {
    std::memcpy(raw.data(), tensor.data, raw.size());
  }
  std::vector<double> values(n);
  if (tensor.dtype == DType::i32) {
    const auto* tokens = reinterpret_cast<const int32_t*>(raw.data());
    for (size_t i = 0; i < n; ++i) values[i] = tokens[i];
    return values;
  }
  Tensor from = tensor;
  from.data = raw.data();
  from.device = Device::cpu;
  convert(from, Tensor(values.data(), DType::f64, Device::cpu, {tensor.elements()}));
  return values;
}

SlotStore make_store(Tensors& tensors, const Codec& k_codec, const Codec& v_codec, int kv_heads,
                     int64_t capacity) {
  const auto slots = static_cast<size_t>(kv_heads * capacity);
  const auto codes = [&](const Codec& codec) {
    return tensors.memory(slots * static_cast<size_t>(codec.code_bytes()));
  };
  const auto scales = [&](const Codec& codec) {
    return codec.scale_bytes() > 0 ? reinterpret_cast<uint16_t*>(tensors.memory(slots * 2))
                                   : nullptr;
  };
  SlotStore store;
  store.k_codec = &k_codec;
  store.v_codec = &v_codec;
  store.capacity = capacity;
  store.k_codes = codes(k_codec);
  store.v_codes = codes(v_codec);
  store.k_scales = scales(k_codec);
  store.v_scales = scales(v_codec);
  return store;
}

SlotStore make_store(Tensors& tensors, const Codec& codec, int kv_heads, int64_t capacity) {
  return make_store(tensors, codec, codec, kv_heads, capacity);
}

}  // namespace kvg
