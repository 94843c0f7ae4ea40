#include "kernels/reference/codec_plain.h"

#include "base/error.h"
#include "kernels/dtype.h"
#include "kernels/reference/codec_scale.h"
#include "kernels/reference/codec_unrotated.h"
#include "kernels/reference/stored_floats.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kvg {
namespace {

class F32Codec final : public UnrotatedCodec<F32Codec> {
 public:
  F32Codec(const CodecSpec& spec, int head_dim) : UnrotatedCodec(spec, head_dim) {}

  int64_t code_bytes() const override { return int64_t{4} * head_dim(); }
  int64_t scale_bytes() const override { return 0; }

  template <typename T>
  void put(const T* x, int64_t n, uint8_t* codes, uint16_t*) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v, x += d, codes += code_bytes()) {
      for (int j = 0; j < d; ++j) put_f32(static_cast<float>(x[j]), j, d, codes);
    }
  }
  template <typename T>
  void get(const uint8_t* codes, const uint16_t*, int64_t n, T* out) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v, codes += code_bytes(), out += d) {
      for (int j = 0; j < d; ++j) out[j] = static_cast<T>(get_f32(codes, j, d));
    }
  }
};

class Bf16Codec final : public UnrotatedCodec<Bf16Codec> {
 public:
  Bf16Codec(const CodecSpec& spec, int head_dim) : UnrotatedCodec(spec, head_dim) {}

  int64_t code_bytes() const override { return int64_t{2} * head_dim(); }
  int64_t scale_bytes() const override { return 0; }

  template <typename T>
  void put(const T* x, int64_t n, uint8_t* codes, uint16_t*) const {
    for (int64_t i = 0; i < n * head_dim(); ++i) put_bf16(static_cast<float>(x[i]), i, codes);
  }
  template <typename T>
  void get(const uint8_t* codes, const uint16_t*, int64_t n, T* out) const {
    for (int64_t i = 0; i < n * head_dim(); ++i) out[i] = static_cast<T>(get_bf16(codes, i));
  }
};

class Fp8Codec final : public UnrotatedCodec<Fp8Codec> {
 public:
  Fp8Codec(const CodecSpec& spec, int head_dim)
      : UnrotatedCodec(spec, head_dim), scaled_(spec.fp8_scale == Fp8Scale::vector) {
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = e4m3_to_float(static_cast<uint8_t>(i));
  }

  int64_t code_bytes() const override { return head_dim(); }
  int64_t scale_bytes() const override { return scaled_ ? 2 : 0; }

  template <typename T>
  void put(const T* x, int64_t n, uint8_t* codes, uint16_t* scales) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v, x += d, codes += d) {
      T scale = 1;
      if (scaled_) {
        T absmax = 0;
        for (int j = 0; j < d; ++j) absmax = std::max(absmax, std::fabs(x[j]));  // skips NaN
        scales[v] = f16_scale_above(static_cast<double>(absmax) / double{kE4m3Max});
        scale = absmax > 0 ? static_cast<T>(f16_to_float(scales[v])) : T{1};
      }
      for (int j = 0; j < d; ++j) codes[j] = float_to_e4m3(static_cast<float>(x[j] / scale));
    }
  }
  template <typename T>
  void get(const uint8_t* codes, const uint16_t* scales, int64_t n, T* out) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v, codes += d, out += d) {
      const T scale = scaled_ ? static_cast<T>(f16_to_float(scales[v])) : T{1};
      for (int j = 0; j < d; ++j) out[j] = scale * static_cast<T>(values_[codes[j]]);
    }
  }

 private:
  bool scaled_;
  std::array<float, 256> values_;
};

class Int8Codec final : public UnrotatedCodec<Int8Codec> {
 public:
  Int8Codec(const CodecSpec& spec, int head_dim) : UnrotatedCodec(spec, head_dim) {}

  int64_t code_bytes() const override { return head_dim(); }
  int64_t scale_bytes() const override { return 2; }

  template <typename T>
  void put(const T* x, int64_t n, uint8_t* codes, uint16_t* scales) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v, x += d, codes += d) {
      T absmax = 0;
      bool nan = false;
      for (int j = 0; j < d; ++j) {
        nan = nan || std::isnan(x[j]);
        absmax = std::max(absmax, std::fabs(x[j]));  // skips NaN
      }
      scales[v] = nan ? kF16NaN : f16_scale_above(static_cast<double>(absmax) / double{kInt8Max});
      const T scale = absmax > 0 && !nan ? static_cast<T>(f16_to_float(scales[v])) : T{1};
      for (int j = 0; j < d; ++j) {
        const float steps = std::clamp(static_cast<float>(x[j] / scale), -kInt8Max, kInt8Max);
        codes[j] =
            nan ? uint8_t{0} : static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(steps)));
      }
    }
  }
  template <typename T>
  void get(const uint8_t* codes, const uint16_t* scales, int64_t n, T* out) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v, codes += d, out += d) {
      const T scale = static_cast<T>(f16_to_float(scales[v]));
      for (int j = 0; j < d; ++j) out[j] = scale * static_cast<T>(static_cast<int8_t>(codes[j]));
    }
  }
};

}  // namespace

std::unique_ptr<Codec> make_f32_codec(const CodecSpec& spec, int head_dim) {
  return std::make_unique<F32Codec>(spec, head_dim);
}

std::unique_ptr<Codec> make_bf16_codec(const CodecSpec& spec, int head_dim) {
  return std::make_unique<Bf16Codec>(spec, head_dim);
}

std::unique_ptr<Codec> make_fp8_codec(const CodecSpec& spec, int head_dim) {
  return std::make_unique<Fp8Codec>(spec, head_dim);
}

std::unique_ptr<Codec> make_int8_codec(const CodecSpec& spec, int head_dim) {
  return std::make_unique<Int8Codec>(spec, head_dim);
}

}  // namespace kvg
