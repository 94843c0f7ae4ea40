#include "kernels/reference/codec_eden.h"

#include "base/error.h"
#include "kernels/reference/codebook.h"
#include "kernels/reference/codec_packing.h"
#include "kernels/reference/codec_scale.h"
#include "kernels/reference/rotation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

namespace kvg {
namespace {

// How well the quantised c fits z: <z,c> and |c|^2.
struct Fit {
  double inner;
  double energy;
};

double scale_factor(EdenScale scale, const Fit& fit, int head_dim) {
  switch (scale) {
    case EdenScale::unbiased:
      return head_dim / fit.inner;
    case EdenScale::s1:
      return 1.0;
    case EdenScale::ls:
      return fit.inner / fit.energy;
    case EdenScale::norm:
      return std::sqrt(head_dim / fit.energy);
  }
  return 1.0;
}

// Sums run over eight partial sums, which the compiler keeps in vector registers.
double add_up(const double (&sums)[8]) {
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

template <typename T>
double squared_norm(const T* x, int d) {
  double sums[8] = {};
  for (int j = 0; j < d; j += 8) {
    for (int k = 0; k < 8; ++k) {
      const double value = static_cast<double>(x[j + k]);
      sums[k] += value * value;
    }
  }
  return add_up(sums);
}

// codes [d] of z [d]. A coordinate on a threshold belongs to the outer cell; zero is positive.
template <int kBits, typename T>
Fit quantise(const T* z, int d, uint8_t* codes) {
  constexpr Codebook kBook = gaussian_codebook(kBits);
  double inner[8] = {};
  double energy[8] = {};
  for (int j = 0; j < d; j += 8) {
    int32_t cell[8];
    T value[8];
    for (int k = 0; k < 8; ++k) {
      const T magnitude = std::fabs(z[j + k]);
      cell[k] = z[j + k] < T{0} ? kBook.cells() : 0;
      value[k] = static_cast<T>(kBook.magnitude[0]);
      for (int i = 1; i < kBook.cells(); ++i) {
        const bool outside =
            magnitude >= static_cast<T>(kBook.threshold[static_cast<size_t>(i - 1)]);
        cell[k] += outside ? 1 : 0;
        value[k] = outside ? static_cast<T>(kBook.magnitude[static_cast<size_t>(i)]) : value[k];
      }
    }
    for (int k = 0; k < 8; ++k) {
      const double c = static_cast<double>(value[k]);
      inner[k] += c * std::fabs(static_cast<double>(z[j + k]));
      energy[k] += c * c;
      codes[j + k] = static_cast<uint8_t>(cell[k]);
    }
  }
  return {add_up(inner), add_up(energy)};
}

// What each packed byte stands for, so that decoding is one load and one product for several
// coordinates: at most 16 KiB, in double.
template <int kBits, typename T>
class ByteTable {
 public:
  static constexpr int kPerByte = 8 / kBits;
  using Values = std::array<T, static_cast<size_t>(kPerByte)>;

  // value(code) of every code of kBits bits.
  template <typename Value>
  explicit ByteTable(Value value) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      for (int k = 0; k < kPerByte; ++k) {
        const unsigned code = byte >> (k * kBits) & ((1u << kBits) - 1);
        rows_[byte][static_cast<size_t>(k)] = static_cast<T>(value(code));
      }
    }
  }
  const Values& operator[](uint8_t byte) const { return rows_[byte]; }

 private:
  alignas(64) std::array<Values, 256> rows_;
};

// Decodes the codes of one vector, times a scale.
template <int kBits, typename T>
class Decoder {
 public:
  Decoder()
      : table_([](unsigned code) {
          const Codebook& book = gaussian_codebook(kBits);
          const auto cells = static_cast<unsigned>(book.cells());
          return (code & cells ? -1 : 1) * book.magnitude[code & (cells - 1)];
        }) {}

  void decode(const uint8_t* packed, T scale, int d, T* out) const {
    constexpr int kPerByte = 8 / kBits;
    for (int i = 0; i < d / kPerByte; ++i) {
      const auto& values = table_[packed[i]];
      for (int k = 0; k < kPerByte; ++k) {
        out[i * kPerByte + k] = scale * values[static_cast<size_t>(k)];
      }
    }
  }

 private:
  ByteTable<kBits, T> table_;
};

template <typename T>
class Decoder<3, T> {
 public:
  Decoder()
      : magnitudes_([](unsigned cell) { return gaussian_codebook(3).magnitude[cell]; }),
        signs_([](unsigned bit) { return bit ? -1.0 : 1.0; }) {}

  void decode(const uint8_t* packed, T scale, int d, T* out) const {
    const uint8_t* const sign_plane = packed + d / 4;
    for (int i = 0; i < d / 8; ++i) {
      const auto& sign = signs_[sign_plane[i]];
      for (int half = 0; half < 2; ++half) {
        const auto& magnitude = magnitudes_[packed[2 * i + half]];
        for (int k = 0; k < 4; ++k) {
          const auto in_half = static_cast<size_t>(k);
          out[8 * i + 4 * half + k] =
              scale * magnitude[in_half] * sign[in_half + static_cast<size_t>(4 * half)];
        }
      }
    }
  }

 private:
  ByteTable<2, T> magnitudes_;
  ByteTable<1, T> signs_;
};

template <int kBits>
class EdenCodec final : public Codec {
 public:
  EdenCodec(const CodecSpec& spec, int head_dim)
      : Codec(spec, head_dim), rotator_(Rotator::make(spec.rotation, head_dim, spec.seed)) {}

  int64_t code_bytes() const override { return packed_bytes(kBits, head_dim()); }
  int64_t scale_bytes() const override { return 2; }
  bool rotates() const override { return true; }

  void encode(const CodecSite& site, const float* x, int64_t n, uint8_t* codes,
              uint16_t* scales) const override {
    encode_blocks(site, x, n, codes, scales);
  }
  void encode(const CodecSite& site, const double* x, int64_t n, uint8_t* codes,
              uint16_t* scales) const override {
    encode_blocks(site, x, n, codes, scales);
  }
  void decode(const uint8_t* codes, const uint16_t* scales, int64_t n, float* out) const override {
    decode_all(floats_, codes, scales, n, out);
  }
  void decode(const uint8_t* codes, const uint16_t* scales, int64_t n, double* out) const override {
    decode_all(doubles_, codes, scales, n, out);
  }
  void to_frame(const CodecSite& site, float* x, int64_t n) const override {
    rotator_->apply(site, x, n);
  }
  void to_frame(const CodecSite& site, double* x, int64_t n) const override {
    rotator_->apply(site, x, n);
  }
  void from_frame(const CodecSite& site, float* x, int64_t n) const override {
    rotator_->apply_transposed(site, x, n);
  }
  void from_frame(const CodecSite& site, double* x, int64_t n) const override {
    rotator_->apply_transposed(site, x, n);
  }

 private:
  // Vectors are rotated a few at a time in a buffer on the stack.
  static constexpr int kBlock = 8;

  template <typename T>
  void encode_blocks(const CodecSite& site, const T* x, int64_t n, uint8_t* codes,
                     uint16_t* scales) const {
    for (int64_t begin = 0; begin < n; begin += kBlock) {
      const auto count = static_cast<int>(std::min<int64_t>(kBlock, n - begin));
      encode_block(site, x + begin * head_dim(), count, codes + begin * code_bytes(),
                   scales + begin);
    }
  }

  template <typename T>
  void encode_block(const CodecSite& site, const T* x, int count, uint8_t* codes,
                    uint16_t* scales) const {
    const int d = head_dim();
    std::array<T, static_cast<size_t>(kBlock) * kMaxRotatedHeadDim> z;
    std::array<double, kBlock> norm;
    for (int v = 0; v < count; ++v) {
      const T* const vector = x + v * d;
      norm[static_cast<size_t>(v)] = std::sqrt(squared_norm(vector, d));
      const double factor = std::sqrt(d) / norm[static_cast<size_t>(v)];
      for (int j = 0; j < d; ++j) {
        z[static_cast<size_t>(v * d + j)] = static_cast<T>(static_cast<double>(vector[j]) * factor);
      }
    }
    rotator_->apply(site, z.data(), count);
    for (int v = 0; v < count; ++v) {
      scales[v] =
          encode_one(z.data() + v * d, norm[static_cast<size_t>(v)], codes + v * code_bytes());
    }
  }

  // Returns the scale.
  template <typename T>
  uint16_t encode_one(const T* z, double norm, uint8_t* packed) const {
    const int d = head_dim();
    if (norm == 0 || !std::isfinite(norm)) {
      std::memset(packed, 0, static_cast<size_t>(code_bytes()));
      return norm == 0 ? uint16_t{0} : kF16NaN;
    }
    std::array<uint8_t, kMaxRotatedHeadDim> unpacked;
    const Fit fit = quantise<kBits>(z, d, unpacked.data());
    pack_codes<kBits>(unpacked.data(), d, packed);
    return f16_scale(norm * scale_factor(spec().scale, fit, d) / std::sqrt(d));
  }

  template <typename T>
  void decode_all(const Decoder<kBits, T>& decoder, const uint8_t* codes, const uint16_t* scales,
                  int64_t n, T* out) const {
    const int d = head_dim();
    for (int64_t v = 0; v < n; ++v) {
      decoder.decode(codes + v * code_bytes(), static_cast<T>(f16_to_float(scales[v])), d,
                     out + v * d);
    }
  }

  std::unique_ptr<Rotator> rotator_;
  Decoder<kBits, float> floats_;
  Decoder<kBits, double> doubles_;
};

}  // namespace

std::unique_ptr<Codec> make_eden_codec(const CodecSpec& spec, int head_dim) {
  switch (spec.bits) {
    case 1:
      return std::make_unique<EdenCodec<1>>(spec, head_dim);
    case 2:
      return std::make_unique<EdenCodec<2>>(spec, head_dim);
    case 3:
      return std::make_unique<EdenCodec<3>>(spec, head_dim);
    case 4:
      return std::make_unique<EdenCodec<4>>(spec, head_dim);
    default:
      throw Error("codec", "bits", std::to_string(spec.bits), "1, 2, 3 or 4");
  }
}

}  // namespace kvg
