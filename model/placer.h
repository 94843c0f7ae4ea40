#pragma once

#include "kernels/ops.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace kvg {

// Hands out 256-byte aligned parts of one allocation (so that slots of bf16 vectors are rows of one
// matrix, whatever lies between them). With a null base it only measures: what is
// placed twice, first on nothing and then on used() bytes, needs no list of offsets.
class Placer {
 public:
  explicit Placer(void* base) : base_(static_cast<uint8_t*>(base)) {}

  template <typename T>
  T* take(int64_t elements) {
    return static_cast<T*>(take_bytes(static_cast<size_t>(elements) * sizeof(T)));
  }
  Tensor tensor(const Ops& ops, DType dtype, std::initializer_list<int64_t> shape) {
    Tensor tensor(nullptr, dtype, ops.device(), shape);
    tensor.data = take_bytes(tensor.bytes());
    return tensor;
  }
  size_t used() const { return used_; }

 private:
  void* take_bytes(size_t bytes) {
    if (bytes == 0) return nullptr;
    uint8_t* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    return at;
  }

  uint8_t* base_;
  size_t used_ = 0;
};

}  // namespace kvg
