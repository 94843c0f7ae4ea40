#pragma once

#include "base/error.h"
#include "kernels/dtype.h"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

namespace kvg {

// Where memory lives.
enum class Device : uint8_t { cpu, cuda };

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::i64;
  if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::u8;
}

// A view of a dense row-major tensor of up to four dimensions, outermost first. Owns nothing.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  Device device = Device::cpu;
  int rank = 0;
  std::array<int64_t, 4> shape{};

  Tensor() = default;
  Tensor(void* data_, DType dtype_, Device device_, std::initializer_list<int64_t> shape_)
      : data(data_), dtype(dtype_), device(device_), rank(static_cast<int>(shape_.size())) {
    KVG_CHECK(rank <= 4, "at most four dimensions");
    int i = 0;
    for (const int64_t extent : shape_) shape[static_cast<size_t>(i++)] = extent;
  }

  explicit operator bool() const { return data != nullptr; }
  int64_t size(int dimension) const { return shape[static_cast<size_t>(dimension)]; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[static_cast<size_t>(i)];
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(elements()) * dtype_size(dtype); }

  // Typed access to host memory; the type must be the tensor's own.
  template <typename T>
  T* as() const {
    KVG_CHECK(device == Device::cpu, "host access to device memory");
    KVG_CHECK(dtype == dtype_of<T>(), "typed access with another type");
    return static_cast<T*>(data);
  }
  // Start of one row of the outermost dimension.
  template <typename T>
  T* row(int64_t index) const {
    int64_t stride = 1;
    for (int i = 1; i < rank; ++i) stride *= shape[static_cast<size_t>(i)];
    return as<T>() + index * stride;
  }
  // Rows [begin, begin + count) of the outermost dimension.
  Tensor rows(int64_t begin, int64_t count) const {
    KVG_CHECK(rank > 0 && begin >= 0 && count >= 0 && begin + count <= shape[0], "row range");
    Tensor part = *this;
    const int64_t stride = shape[0] == 0 ? 0 : elements() / shape[0];
    part.data = static_cast<char*>(data) + static_cast<size_t>(begin * stride) * dtype_size(dtype);
    part.shape[0] = count;
    return part;
  }
};

}  // namespace kvg
