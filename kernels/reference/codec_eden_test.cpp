#include "kernels/reference/codec_eden.h"

#include "base/error.h"
#include "kernels/dtype.h"
#include "kernels/reference/codebook.h"
#include "kernels/reference/codec_packing.h"
#include "kernels/reference/codec_test_util.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr CodecSite kSite{3, 1, true};
constexpr EdenScale kScales[] = {EdenScale::unbiased, EdenScale::s1, EdenScale::ls,
                                 EdenScale::norm};

CodecSpec eden(int bits, EdenScale scale, Rotation rotation = Rotation::hdhd, uint64_t seed = 7) {
  return {
      .kind = CodecKind::eden, .bits = bits, .scale = scale, .rotation = rotation, .seed = seed};
}

std::vector<uint8_t> unpack(int bits, const uint8_t* packed, int head_dim) {
  std::vector<uint8_t> codes(static_cast<size_t>(head_dim));
  if (bits == 1) unpack_codes<1>(packed, head_dim, codes.data());
  if (bits == 2) unpack_codes<2>(packed, head_dim, codes.data());
  if (bits == 3) unpack_codes<3>(packed, head_dim, codes.data());
  if (bits == 4) unpack_codes<4>(packed, head_dim, codes.data());
  return codes;
}

double value_of(int bits, unsigned code) {
  const Codebook& book = gaussian_codebook(bits);
  const unsigned cells = static_cast<unsigned>(book.cells());
  return (code >= cells ? -1 : 1) * book.magnitude[code % cells];
}

// sqrt(d) P x / |x|
std::vector<double> normalised(const Codec& codec, const double* x) {
  const int d = codec.head_dim();
  std::vector<double> z(x, x + d);
  codec.to_frame(kSite, z.data(), 1);
  const double norm = std::sqrt(inner_product(x, x, d));
  for (double& coordinate : z) coordinate *= std::sqrt(d) / norm;
  return z;
}

// The codec by its definition: the nearest of all 2^bits points, and S from the formulas.
double expected_scale(const CodecSpec& spec, const std::vector<double>& z, const double* x) {
  const auto d = static_cast<double>(z.size());
  double a = 0;
  double g = 0;
  for (const double coordinate : z) {
    double best = value_of(spec.bits, 0);
    for (unsigned code = 1; code < 1u << spec.bits; ++code) {
      const double value = value_of(spec.bits, code);
      if (std::fabs(value - coordinate) < std::fabs(best - coordinate)) best = value;
    }
    a += best * coordinate / d;
    g += best * best / d;
  }
  const double norm = std::sqrt(inner_product(x, x, static_cast<int>(z.size())));
  const double factor[] = {1 / a, 1, a / g, 1 / std::sqrt(g)};
  return norm / std::sqrt(d) * factor[static_cast<size_t>(spec.scale)];
}

// Random bits, scales, rotations, sizes and magnitudes against the definition.
TEST(EdenCodec, MatchesTheDefinition) {
  Random random(name_seed("eden definition"));
  for (int trial = 0; trial < 400; ++trial) {
    const auto rotation = static_cast<Rotation>(random.below(3));
    const int d = rotation == Rotation::haar ? 8 * (1 + static_cast<int>(random.below(24)))
                                             : 8 << random.below(6);
    const int bits = 1 + static_cast<int>(random.below(4));
    const CodecSpec spec = eden(bits, kScales[random.below(4)], rotation, random.next_u64());
    const auto codec = Codec::make(spec, d);
    const auto n = static_cast<int64_t>(random.below(20));
    const auto x = normals(n * d, random.next_u64(), std::exp2(random.uniform() * 20 - 8));
    const Encoded encoded = encode(*codec, kSite, x);
    std::vector<double> decoded(x.size());
    codec->decode(encoded.codes.data(), encoded.scales.data(), n, decoded.data());
    for (int64_t v = 0; v < n; ++v) {
      const auto z = normalised(*codec, x.data() + v * d);
      const auto codes = unpack(bits, encoded.codes.data() + v * codec->code_bytes(), d);
      const auto s = static_cast<double>(f16_to_float(encoded.scales[static_cast<size_t>(v)]));
      ASSERT_NEAR(s / expected_scale(spec, z, x.data() + v * d), 1, 0x1.0p-11 + 1e-9);
      for (size_t j = 0; j < z.size(); ++j) {
        const double value = value_of(bits, codes[j]);
        for (unsigned code = 0; code < 1u << bits; ++code) {
          ASSERT_LE(std::fabs(value - z[j]), std::fabs(value_of(bits, code) - z[j]) + 1e-12);
        }
        ASSERT_EQ(decoded[static_cast<size_t>(v * d) + j], s * value);
      }
    }
  }
}

TEST(EdenCodec, SizesOfAVector) {
  for (int bits = 1; bits <= 4; ++bits) {
    const auto codec = Codec::make(eden(bits, EdenScale::unbiased), 128);
    EXPECT_EQ(codec->code_bytes() + codec->scale_bytes(), 16 * bits + 2);
    EXPECT_TRUE(codec->rotates());
  }
}

TEST(EdenCodec, RefusesWhatItCannotStore) {
  EXPECT_THROW(Codec::make(eden(0, EdenScale::s1), 128), Error);
  EXPECT_THROW(Codec::make(eden(5, EdenScale::s1), 128), Error);
  EXPECT_THROW(Codec::make(eden(4, EdenScale::s1), 96), Error);
  EXPECT_THROW(Codec::make(eden(3, EdenScale::s1, Rotation::haar), 12), Error);
  EXPECT_NO_THROW(Codec::make(eden(3, EdenScale::s1, Rotation::haar), 96));
}

TEST(EdenCodec, VectorsAreIndependentOfTheirBatch) {
  const int d = 32;
  for (int bits = 1; bits <= 4; ++bits) {
    const auto codec = Codec::make(eden(bits, EdenScale::unbiased), d);
    const auto x = normals<float>(37 * d, 3);
    const Encoded together = encode(*codec, kSite, x);
    for (int64_t v = 0; v < 37; ++v) {
      const Encoded alone =
          encode(*codec, kSite, std::vector<float>(x.begin() + v * d, x.begin() + (v + 1) * d));
      EXPECT_EQ(alone.scales[0], together.scales[static_cast<size_t>(v)]);
      const auto begin = together.codes.begin() + v * codec->code_bytes();
      EXPECT_EQ(alone.codes, std::vector<uint8_t>(begin, begin + codec->code_bytes()));
    }
  }
}

// A float and a double encoder may only disagree where rounding decides: on a threshold.
TEST(EdenCodec, FloatAgreesWithDouble) {
  const int d = 128;
  const int n = 2000;
  for (int bits = 1; bits <= 4; ++bits) {
    for (const Rotation rotation : {Rotation::hdhd, Rotation::haar}) {
      const auto codec = Codec::make(eden(bits, EdenScale::unbiased, rotation), d);
      const auto x = normals<float>(n * d, 4);
      const std::vector<double> wide(x.begin(), x.end());
      const Encoded narrow_codes = encode(*codec, kSite, x);
      const Encoded wide_codes = encode(*codec, kSite, wide);
      int differences = 0;
      for (int v = 0; v < n; ++v) {
        const auto at = v * codec->code_bytes();
        const auto a = unpack(bits, narrow_codes.codes.data() + at, d);
        const auto b = unpack(bits, wide_codes.codes.data() + at, d);
        const auto z = normalised(*codec, wide.data() + v * d);
        for (size_t j = 0; j < z.size(); ++j) {
          if (a[j] == b[j]) continue;
          ++differences;
          const double middle = (value_of(bits, a[j]) + value_of(bits, b[j])) / 2;
          EXPECT_NEAR(z[j], middle, 1e-5);
        }
        const auto index = static_cast<size_t>(v);
        EXPECT_LE(std::abs(narrow_codes.scales[index] - wide_codes.scales[index]), 1);
      }
      EXPECT_LE(differences, n * d / 10000);
      const auto out = decode<float>(*codec, kSite, narrow_codes);
      const auto wide_out = decode<double>(*codec, kSite, narrow_codes);
      EXPECT_LT(relative_error(std::vector<double>(out.begin(), out.end()).data(), wide_out.data(),
                               n * d),
                1e-12);
    }
  }
}

// T5: <x_hat, x> = |x|^2 for every vector, up to the fp16 scale; for any input, not only normal
// ones.
TEST(EdenCodec, UnbiasedScaleIdentity) {
  const int d = 128;
  for (const Rotation rotation : {Rotation::hd, Rotation::hdhd, Rotation::haar}) {
    for (int bits = 1; bits <= 4; ++bits) {
      const auto codec = Codec::make(eden(bits, EdenScale::unbiased, rotation), d);
      auto x = normals(4000 * d, 5);
      for (size_t i = 0; i < x.size(); i += 17) x[i] *= 20;  // outlier channels, moving
      const auto decoded = round_trip(*codec, kSite, x);
      for (int v = 0; v < 4000; ++v) {
        const double* const vector = x.data() + v * d;
        const double ratio =
            inner_product(decoded.data() + v * d, vector, d) / inner_product(vector, vector, d);
        ASSERT_NEAR(ratio, 1, 2e-3);
      }
    }
  }
}

// DRIVE with the least squares scale: s = |P x|_1 / d.
TEST(EdenCodec, OneBitLeastSquaresIsDrive) {
  const int d = 64;
  const auto codec = Codec::make(eden(1, EdenScale::ls), d);
  for (uint64_t trial = 0; trial < 500; ++trial) {
    const auto x = normals(d, mix_seed({trial, 6}));
    const Encoded encoded = encode(*codec, kSite, x);
    std::vector<double> frame(x);
    codec->to_frame(kSite, frame.data(), 1);
    const double l1 = std::accumulate(frame.begin(), frame.end(), 0.0,
                                      [](double sum, double y) { return sum + std::fabs(y); });
    std::vector<double> decoded(x.size());
    codec->decode(encoded.codes.data(), encoded.scales.data(), 1, decoded.data());
    for (size_t j = 0; j < decoded.size(); ++j) {
      EXPECT_NEAR(decoded[j] * d / l1, frame[j] < 0 ? -1 : 1, 0x1.0p-11 + 1e-9);
    }
  }
}

// T9: the worst cases of a single block, exact, prove that hd is one block.
TEST(EdenCodec, SingleHadamardWorstCases) {
  const int d = 128;
  const auto two_bits = Codec::make(eden(2, EdenScale::s1, Rotation::hd), d);
  const auto drive = Codec::make(eden(1, EdenScale::ls, Rotation::hd), d);
  const auto two_blocks = Codec::make(eden(2, EdenScale::s1), d);
  int worst_of_two_blocks = 0;
  for (int j = 0; j < d; ++j) {
    std::vector<double> x(d, 0.0);
    x[static_cast<size_t>(j)] = -3.5;
    EXPECT_NEAR(relative_error(x.data(), round_trip(*two_bits, kSite, x).data(), d), 0.2605, 1e-3);
    const auto other = round_trip(*two_blocks, kSite, x);
    worst_of_two_blocks += relative_error(x.data(), other.data(), d) > 0.2595;
    x[static_cast<size_t>((j + 1 + j % 50) % d)] = 3.5;
    EXPECT_NEAR(relative_error(x.data(), round_trip(*drive, kSite, x).data(), d), 0.5, 1e-3);
    // Half of the coordinates are exactly zero: those are positive.
    const Encoded encoded = encode(*drive, kSite, x);
    const auto z = normalised(*drive, x.data());
    for (int i = 0; i < d; ++i) {
      const bool negative = encoded.codes[static_cast<size_t>(i / 8)] >> (i % 8) & 1;
      ASSERT_EQ(negative, z[static_cast<size_t>(i)] < 0);
    }
  }
  EXPECT_EQ(worst_of_two_blocks, 0);
}

// T10: two blocks bring the same vector close to the Gaussian law (0.1175), over seeds and sites.
TEST(EdenCodec, TwoHadamardBlocksOnOneHot) {
  const int d = 128;
  double sum = 0;
  int count = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto codec = Codec::make(eden(2, EdenScale::s1, Rotation::hdhd, seed), d);
    for (int j = 0; j < d; ++j, ++count) {
      const CodecSite site{j, static_cast<int32_t>(seed), false};
      std::vector<double> x(d, 0.0);
      x[static_cast<size_t>(j)] = 1;
      sum += relative_error(x.data(), round_trip(*codec, site, x).data(), d);
    }
  }
  EXPECT_NEAR(sum / count, 0.118, 0.003);
}

// T15: encoding a decoded vector again changes nothing, except that s1 shrinks it at each pass.
TEST(EdenCodec, ReEncodingIsIdempotent) {
  const int d = 128;
  const int n = 2000;
  for (int bits = 1; bits <= 4; ++bits) {
    for (const EdenScale scale : {EdenScale::unbiased, EdenScale::ls, EdenScale::norm}) {
      const auto codec = Codec::make(eden(bits, scale), d);
      const Encoded first = encode(*codec, kSite, normals(n * d, 8));
      const Encoded second = encode(*codec, kSite, decode<double>(*codec, kSite, first));
      EXPECT_EQ(first.codes, second.codes);
      EXPECT_EQ(first.scales, second.scales);
      const Encoded narrow = encode(*codec, kSite, decode<float>(*codec, kSite, first));
      EXPECT_EQ(first.codes, narrow.codes);
      for (size_t v = 0; v < n; ++v) EXPECT_LE(std::abs(first.scales[v] - narrow.scales[v]), 1);
    }
    const auto codec = Codec::make(eden(bits, EdenScale::s1), d);
    const double shrink = std::sqrt(1 - gaussian_codebook(bits).mse);
    auto x = normals(n * d, 9);
    for (int pass = 1; pass <= 5; ++pass) {
      const auto decoded = round_trip(*codec, kSite, x);
      double ratio = 0;
      for (int v = 0; v < n; ++v) {
        const double* const after = decoded.data() + v * d;
        const double* const before = x.data() + v * d;
        ratio += std::sqrt(inner_product(after, after, d) / inner_product(before, before, d)) / n;
      }
      EXPECT_NEAR(ratio / shrink, 1, 0.01) << "bits " << bits << " pass " << pass;
      x = decoded;
    }
  }
}

TEST(EdenCodec, KeptNorm) {
  const int d = 128;
  for (int bits = 1; bits <= 4; ++bits) {
    const auto codec = Codec::make(eden(bits, EdenScale::norm), d);
    const auto x = normals(500 * d, 10);
    const auto decoded = round_trip(*codec, kSite, x);
    for (int v = 0; v < 500; ++v) {
      const double* const after = decoded.data() + v * d;
      EXPECT_NEAR(inner_product(after, after, d),
                  inner_product(&x[static_cast<size_t>(v * d)], &x[static_cast<size_t>(v * d)], d),
                  0x1.1p-10 * inner_product(after, after, d));
    }
  }
}

TEST(EdenCodec, ExtremeVectors) {
  const int d = 64;
  const auto inf = std::numeric_limits<float>::infinity();
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  for (int bits = 1; bits <= 4; ++bits) {
    for (const EdenScale scale : kScales) {
      const auto codec = Codec::make(eden(bits, scale), d);
      std::vector<float> x(static_cast<size_t>(5 * d), 0.0f);  // vector 0 is zero
      const auto random = normals<float>(4 * d, 11);
      std::copy(random.begin(), random.end(), x.begin() + d);
      x[static_cast<size_t>(d + 5)] = nan;
      x[static_cast<size_t>(2 * d + 6)] = -inf;
      for (int j = 3 * d; j < 4 * d; ++j) x[static_cast<size_t>(j)] *= 1e37f;
      for (int j = 4 * d; j < 5 * d; ++j) x[static_cast<size_t>(j)] *= 1e-43f;  // subnormal

      const Encoded encoded = encode(*codec, kSite, x);
      EXPECT_EQ(encoded.scales[0], 0);
      EXPECT_EQ(encoded.scales[3], 0x7bff);
      EXPECT_EQ(encoded.scales[4], 0);
      const auto out = decode<float>(*codec, kSite, encoded);
      for (int j = 0; j < d; ++j) {
        const auto at = static_cast<size_t>(j);
        const auto row = static_cast<size_t>(d);
        EXPECT_EQ(out[at], 0.0f);
        EXPECT_TRUE(std::isnan(out[row + at]));
        EXPECT_TRUE(std::isnan(out[2 * row + at]));
        EXPECT_TRUE(std::isfinite(out[3 * row + at]));
        EXPECT_EQ(out[4 * row + at], 0.0f);
      }
      // Saturation loses the length, not the direction.
      const double cosine_squared =
          std::pow(inner_product(&out[3 * 64], &x[3 * 64], d), 2) /
          (inner_product(&out[3 * 64], &out[3 * 64], d) * inner_product(&x[3 * 64], &x[3 * 64], d));
      EXPECT_GT(cosine_squared, 0.5);
    }
  }
}

// Any bytes may be decoded: values are the codebook's times the scale.
TEST(EdenCodec, DecodesArbitraryBytes) {
  Random random(name_seed("arbitrary"));
  for (int trial = 0; trial < 300; ++trial) {
    const int bits = 1 + static_cast<int>(random.below(4));
    const int d = 8 << random.below(5);
    const auto codec = Codec::make(eden(bits, EdenScale::norm), d);
    std::vector<uint8_t> bytes(static_cast<size_t>(codec->code_bytes()));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next_u32());
    const auto scale = static_cast<uint16_t>(random.below(0x7c00));
    std::vector<double> out(static_cast<size_t>(d));
    codec->decode(bytes.data(), &scale, 1, out.data());
    const auto codes = unpack(bits, bytes.data(), d);
    for (size_t j = 0; j < out.size(); ++j) {
      ASSERT_EQ(out[j], static_cast<double>(f16_to_float(scale)) * value_of(bits, codes[j]));
    }
  }
}

}  // namespace
}  // namespace kvg
