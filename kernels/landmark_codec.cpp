#include "kernels/landmark_codec.h"

#include "base/error.h"
#include "kernels/dtype.h"
#include "kernels/reference/codec_unrotated.h"
#include "kernels/reference/stored_floats.h"

#include <algorithm>
#include <utility>

namespace kvg {

namespace {

class BandCodec final : public UnrotatedCodec<BandCodec> {
 public:
  BandCodec(const CodecSpec& spec, int head_dim, std::vector<int32_t> dims)
      : UnrotatedCodec(spec, head_dim),
        dims_(std::move(dims)),
        wide_(spec.kind == CodecKind::f32) {}

  std::span<const int32_t> dims() const { return dims_; }
  int64_t code_bytes() const override { return stored() * (wide_ ? 4 : 2); }
  int64_t scale_bytes() const override { return 0; }

  template <typename T>
  void put(const T* x, int64_t n, uint8_t* codes, uint16_t*) const {
    for (int64_t v = 0; v < n; ++v, x += head_dim(), codes += code_bytes()) {
      for (int64_t i = 0; i < stored(); ++i) {
        const auto value = static_cast<float>(x[dims_[static_cast<size_t>(i)]]);
        if (wide_) {
          put_f32(value, i, stored(), codes);
        } else {
          put_bf16(value, i, codes);
        }
      }
    }
  }

  template <typename T>
  void get(const uint8_t* codes, const uint16_t*, int64_t n, T* out) const {
    std::fill_n(out, n * head_dim(), T{0});
    for (int64_t v = 0; v < n; ++v, codes += code_bytes(), out += head_dim()) {
      for (int64_t i = 0; i < stored(); ++i) {
        const float value = wide_ ? get_f32(codes, i, stored()) : get_bf16(codes, i);
        out[dims_[static_cast<size_t>(i)]] = static_cast<T>(value);
      }
    }
  }

 private:
  int64_t stored() const { return std::ssize(dims_); }

  std::vector<int32_t> dims_;
  bool wide_;
};

}  // namespace

std::unique_ptr<Codec> make_band_codec(CodecKind kind, int head_dim, std::vector<int32_t> dims) {
  KVG_CHECK(kind == CodecKind::f32 || kind == CodecKind::bf16, "a band is f32 or bf16");
  KVG_CHECK(!dims.empty() && std::is_sorted(dims.begin(), dims.end()) && dims.front() >= 0 &&
                dims.back() < head_dim,
            "coordinates of a band");
  CodecSpec spec;
  spec.kind = kind;
  return std::make_unique<BandCodec>(spec, head_dim, std::move(dims));
}

std::span<const int32_t> band_of(const Codec& codec) {
  const auto* band = dynamic_cast<const BandCodec*>(&codec);
  return band == nullptr ? std::span<const int32_t>() : band->dims();
}

bool is_plain_bf16(const Codec& codec) {
  return codec.spec().kind == CodecKind::bf16 && band_of(codec).empty();
}

}  // namespace kvg
