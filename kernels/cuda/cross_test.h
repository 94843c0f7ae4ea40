#pragma once

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/ops.h"

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

// What tests of the CUDA set through kernels/ops.h share: both sets, and tensors that hold the same
// numbers on both sides.
namespace kvg::cuda {

struct CrossSets {
  std::unique_ptr<Ops> reference = make_reference_ops();
  std::unique_ptr<Ops> cuda = make_cuda_ops();
};

// A tensor of reals: f64 on the host for the reference, bf16 or f32 ("wide") on the device.
class CrossTensor {
 public:
  CrossTensor() = default;
  // An output, poisoned on both sides.
  CrossTensor(CrossSets& sets, DType dtype, std::initializer_list<int64_t> shape)
      : ops_(sets.cuda.get()), host_(nullptr, DType::f64, Device::cpu, shape) {
    values_.assign(static_cast<size_t>(host_.elements()), std::numeric_limits<double>::quiet_NaN());
    device_ = host_;
    device_.dtype = dtype;
    device_.device = Device::cuda;
    buffer_ = ops_->allocate(device_.bytes());
    device_.data = buffer_->data();
    send();
  }
  // An input: normal numbers that the device's type represents exactly.
  static CrossTensor random(CrossSets& sets, DType dtype, std::initializer_list<int64_t> shape,
                            uint64_t seed, double scale = 1) {
    CrossTensor tensor(sets, dtype, shape);
    tensor.set(random_values(tensor.values_.size(), dtype, seed), scale);
    return tensor;
  }

  Tensor host() {
    host_.data = values_.data();
    return buffer_ ? host_ : Tensor();
  }
  const Tensor& device() const { return device_; }
  // Of `sets.reference` or `sets.cuda`.
  Tensor on(const Ops& ops) { return ops.device() == Device::cpu ? host() : device(); }

  // `scale` must keep values exact: a power of two.
  void set(std::vector<double> values, double scale = 1) {
    for (double& value : values) value *= scale;
    values_ = std::move(values);
    send();
  }
  const std::vector<double>& expected() const { return values_; }
  std::vector<double> result() const {
    std::vector<uint8_t> raw(device_.bytes());
    ops_->copy(raw.data(), device_.data, raw.size());
    std::vector<double> values(values_.size());
    for (size_t i = 0; i < values.size(); ++i) {
      float value = 0;
      uint16_t half = 0;
      if (device_.dtype == DType::bf16) {
        std::memcpy(&half, raw.data() + 2 * i, 2);
        value = bf16_to_float(half);
      } else {
        std::memcpy(&value, raw.data() + 4 * i, 4);
      }
      values[i] = value;
    }
    return values;
  }
  // |device - reference| / |reference|; NaN when anything is.
  double error() const { return relative_norm(result(), values_); }

 private:
  void send() { ops_->upload(host(), device_); }

  Ops* ops_ = nullptr;
  Tensor host_, device_;
  std::vector<double> values_;
  std::unique_ptr<Buffer> buffer_;
};

// A vector or matrix of numbers that both sides hold as they are: tokens, positions, f64 results.
template <typename T>
class CrossNumbers {
 public:
  CrossNumbers() = default;
  CrossNumbers(CrossSets& sets, std::vector<T> values, std::initializer_list<int64_t> shape = {})
      : ops_(sets.cuda.get()), values_(std::move(values)) {
    const auto count = static_cast<int64_t>(values_.size());
    host_ = shape.size() > 0 ? Tensor(nullptr, dtype_of<T>(), Device::cpu, shape)
                             : Tensor(nullptr, dtype_of<T>(), Device::cpu, {count});
    device_ = host_;
    device_.device = Device::cuda;
    buffer_ = ops_->allocate(device_.bytes());
    device_.data = buffer_->data();
    send();
  }
  Tensor host() {
    host_.data = values_.data();
    return buffer_ ? host_ : Tensor();
  }
  const Tensor& device() const { return device_; }
  Tensor on(const Ops& ops) { return ops.device() == Device::cpu ? host() : device(); }
  void set(std::vector<T> values) {
    values_ = std::move(values);
    send();
  }
  std::vector<T>& values() { return values_; }
  std::vector<T> result() const {
    std::vector<T> values(values_.size());
    ops_->copy(values.data(), device_.data, device_.bytes());
    return values;
  }

 private:
  void send() { ops_->upload(host(), device_); }

  Ops* ops_ = nullptr;
  Tensor host_, device_;
  std::vector<T> values_;
  std::unique_ptr<Buffer> buffer_;
};

// K and V of one sequence in slots on both sides.
class CrossStore {
 public:
  CrossStore(CrossSets& sets, const Codec& codec, int64_t capacity, int kv_heads)
      : codes_(static_cast<size_t>(2 * kv_heads * capacity * codec.code_bytes())),
        scales_(static_cast<size_t>(2 * kv_heads * capacity)),
        gpu_codes_(sets.cuda->allocate(codes_.size())),
        gpu_scales_(sets.cuda->allocate(2 * scales_.size())) {
    host_ = view(codec, capacity, codes_.data(), scales_.data());
    device_ = view(codec, capacity, gpu_codes_->data(), gpu_scales_->data());
  }
  const SlotStore& on(const Ops& ops) const {
    return ops.device() == Device::cpu ? host_ : device_;
  }

 private:
  SlotStore view(const Codec& codec, int64_t capacity, void* codes, void* scales) const {
    auto* bytes = static_cast<uint8_t*>(codes);
    auto* halves = static_cast<uint16_t*>(scales);
    const bool scaled = codec.scale_bytes() > 0;
    return {&codec,
            &codec,
            capacity,
            bytes,
            bytes + codes_.size() / 2,
            scaled ? halves : nullptr,
            scaled ? halves + scales_.size() / 2 : nullptr};
  }
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> scales_;
  std::unique_ptr<Buffer> gpu_codes_, gpu_scales_;
  SlotStore host_, device_;
};

}  // namespace kvg::cuda
