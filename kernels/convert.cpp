#include "kernels/convert.h"

#include "base/error.h"

#include <cstring>
#include <string>

namespace kvg {
namespace {

float widen_f16(uint16_t bits) { return f16_to_float(bits); }
float widen_bf16(uint16_t bits) { return bf16_to_float(bits); }

template <typename To, typename From, typename Function>
void transform(const Tensor& from, const Tensor& to, Function function) {
  const auto* source = static_cast<const From*>(from.data);
  auto* target = static_cast<To*>(to.data);
  const int64_t n = from.elements();
  for (int64_t i = 0; i < n; ++i) target[i] = static_cast<To>(function(source[i]));
}

template <typename From, typename Function>
bool convert_from(const Tensor& from, const Tensor& to, Function to_real) {
  switch (to.dtype) {
    case DType::f64:
      transform<double, From>(from, to, to_real);
      return true;
    case DType::f32:
      transform<float, From>(from, to, to_real);
      return true;
    case DType::f16:
      transform<uint16_t, From>(
          from, to, [&](From x) { return float_to_f16(static_cast<float>(to_real(x))); });
      return true;
    case DType::bf16:
      transform<uint16_t, From>(
          from, to, [&](From x) { return float_to_bf16(static_cast<float>(to_real(x))); });
      return true;
    default:
      return false;
  }
}

bool convert_reals(const Tensor& from, const Tensor& to) {
  switch (from.dtype) {
    case DType::f64:
      return convert_from<double>(from, to, [](double x) { return x; });
    case DType::f32:
      return convert_from<float>(from, to, [](float x) { return x; });
    case DType::f16:
      return convert_from<uint16_t>(from, to, widen_f16);
    case DType::bf16:
      return convert_from<uint16_t>(from, to, widen_bf16);
    default:
      return false;
  }
}

}  // namespace

void convert(const Tensor& from, const Tensor& to) {
  KVG_CHECK(from.device == Device::cpu && to.device == Device::cpu, "host tensors only");
  KVG_CHECK(from.elements() == to.elements(), "as many elements on both sides");
  if (from.elements() == 0) return;
  if (from.dtype == to.dtype) {
    std::memcpy(to.data, from.data, from.bytes());
  } else if (!convert_reals(from, to)) {
    throw Error("tensor conversion", "", std::string(dtype_name(from.dtype)),
                "a type that converts to " + std::string(dtype_name(to.dtype)) +
                    " (f64, f32, f16 or bf16)");
  }
}

}  // namespace kvg
