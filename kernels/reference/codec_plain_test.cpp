#include "base/error.h"
#include "base/random.h"
#include "kernels/codec.h"
#include "kernels/dtype.h"
#include "kernels/reference/codec_test_util.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr CodecSite kSite{3, 1, true};

template <typename T>
std::vector<T> round_trip(const Codec& codec, const std::vector<T>& x,
                          std::vector<uint16_t>* scales = nullptr) {
  const Encoded encoded = encode(codec, kSite, x);
  if (scales != nullptr) *scales = encoded.scales;
  return decode<T>(codec, kSite, encoded);
}

// Of all vectors together.
double relative_mse(const std::vector<double>& x, const std::vector<double>& decoded) {
  return relative_error(x.data(), decoded.data(), static_cast<int>(x.size()));
}

TEST(PlainCodec, SizesOfAVector) {
  const auto f32 = Codec::make({.kind = CodecKind::f32}, 128);
  const auto bf16 = Codec::make({.kind = CodecKind::bf16}, 128);
  const auto unit = Codec::make({.kind = CodecKind::fp8}, 128);
  const auto vector = Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector}, 128);
  EXPECT_EQ(f32->code_bytes(), 512);
  EXPECT_EQ(bf16->code_bytes(), 256);
  EXPECT_EQ(unit->code_bytes(), 128);
  const auto int8 = Codec::make({.kind = CodecKind::int8}, 128);
  EXPECT_EQ(vector->code_bytes(), 128);
  EXPECT_EQ(int8->code_bytes(), 128);
  EXPECT_EQ(f32->scale_bytes() + bf16->scale_bytes() + unit->scale_bytes(), 0);
  EXPECT_EQ(vector->scale_bytes(), 2);
  EXPECT_EQ(int8->scale_bytes(), 2);
}

TEST(PlainCodec, RefusesAnEmptyHead) {
  EXPECT_THROW(Codec::make({.kind = CodecKind::bf16}, 0), Error);
  EXPECT_THROW(Codec::make({.kind = CodecKind::fp8}, -8), Error);
  EXPECT_THROW(Codec::make({.kind = CodecKind::int8}, 0), Error);
}

TEST(PlainCodec, FrameIsTheIdentity) {
  for (const CodecKind kind : {CodecKind::f32, CodecKind::bf16, CodecKind::fp8, CodecKind::int8}) {
    const auto codec = Codec::make({.kind = kind}, 24);
    const std::vector<double> x = normals<double>(24 * 3, 1);
    std::vector<double> y = x;
    codec->to_frame(kSite, y.data(), 3);
    codec->from_frame(kSite, y.data(), 3);
    EXPECT_EQ(x, y);
    EXPECT_FALSE(codec->rotates());
  }
}

TEST(PlainCodec, F32IsExact) {
  const auto codec = Codec::make({.kind = CodecKind::f32}, 10);
  std::vector<float> x = normals<float>(10 * 7, 2);
  x[3] = -0.0f;
  x[4] = std::numeric_limits<float>::denorm_min();
  x[5] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(round_trip(*codec, x), x);
  x[6] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(round_trip(*codec, x)[6]));
}

// Attention reads no more than that.
TEST(PlainCodec, F32BeginsWithBf16) {
  const auto wide = Codec::make({.kind = CodecKind::f32}, 24);
  const auto narrow = Codec::make({.kind = CodecKind::bf16}, 24);
  const std::vector<float> x = normals<float>(24 * 5, 6);
  const std::vector<uint8_t> codes = encode(*wide, kSite, x).codes;
  const std::vector<uint8_t> rounded = encode(*narrow, kSite, x).codes;
  for (int64_t v = 0; v < 5; ++v) {
    EXPECT_TRUE(std::equal(rounded.begin() + 48 * v, rounded.begin() + 48 * (v + 1),
                           codes.begin() + 96 * v));
  }
}

TEST(PlainCodec, Bf16IsTheNearest) {
  const auto codec = Codec::make({.kind = CodecKind::bf16}, 64);
  const std::vector<float> x = normals<float>(64 * 50, 3, 10.0);
  const std::vector<float> decoded = round_trip(*codec, x);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_LE(std::fabs(decoded[i] - x[i]), std::fabs(x[i]) * 0x1.0p-8f);
    EXPECT_EQ(decoded[i], bf16_to_float(float_to_bf16(x[i])));
  }
  std::vector<float> odd(64, 1.0f);
  odd[0] = std::numeric_limits<float>::infinity();
  odd[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(round_trip(*codec, odd)[0], odd[0]);
  EXPECT_TRUE(std::isnan(round_trip(*codec, odd)[1]));
}

// T14, the row of fp8.
TEST(Fp8Codec, ErrorOnGaussianCoordinates) {
  const auto unit = Codec::make({.kind = CodecKind::fp8}, 128);
  const auto vector = Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector}, 128);
  for (const double sigma : {1.0, 0.1, 100.0}) {
    const std::vector<double> x = normals<double>(128 * 4000, 4, sigma);
    EXPECT_NEAR(relative_mse(x, round_trip(*unit, x)) / 7.0e-4, 1.0, 0.03) << sigma;
    EXPECT_NEAR(relative_mse(x, round_trip(*vector, x)) / 6.6e-4, 1.0, 0.03) << sigma;
  }
  // A scale far too large for the data: subnormals cost five times the error; absmax does not mind.
  const std::vector<double> small = normals<double>(128 * 4000, 5, 0.01);
  EXPECT_NEAR(relative_mse(small, round_trip(*unit, small)) / 3.2e-3, 1.0, 0.03);
  EXPECT_NEAR(relative_mse(small, round_trip(*vector, small)) / 6.6e-4, 1.0, 0.03);
}

TEST(Fp8Codec, FloatAndDoubleAgree) {
  for (const Fp8Scale scale : {Fp8Scale::unit, Fp8Scale::vector}) {
    const auto codec = Codec::make({.kind = CodecKind::fp8, .fp8_scale = scale}, 32);
    const std::vector<float> x = normals<float>(32 * 500, 6);
    const std::vector<double> wide(x.begin(), x.end());
    const std::vector<float> decoded = round_trip(*codec, x);
    const std::vector<double> decoded_wide = round_trip(*codec, wide);
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(static_cast<double>(decoded[i]), decoded_wide[i]);
    }
  }
}

TEST(Fp8Codec, VectorScaleIsTightAndNeverClips) {
  const auto codec = Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector}, 8);
  Random random(7);
  for (int trial = 0; trial < 2000; ++trial) {
    const double magnitude = std::exp2(random.uniform() * 44 - 22);  // down to fp16 subnormals
    const std::vector<double> x = normals<double>(8, random.next_u64(), magnitude);
    std::vector<uint16_t> scales;
    const std::vector<double> decoded = round_trip(*codec, x, &scales);
    const double scale = static_cast<double>(f16_to_float(scales[0]));
    // The smallest fp16 that reaches the largest coordinate.
    double absmax = 0;
    for (const double value : x) absmax = std::max(absmax, std::fabs(value));
    const auto smaller = static_cast<uint16_t>(scales[0] - 1);
    EXPECT_GE(scale * 448, absmax);
    EXPECT_LT(static_cast<double>(f16_to_float(smaller)) * 448, absmax);
    for (size_t j = 0; j < x.size(); ++j) {
      const double limit = std::max(std::fabs(x[j]) / 16, scale * 0x1.0p-10);
      EXPECT_LE(std::fabs(decoded[j] - x[j]), limit * 1.0001);
    }
  }
}

TEST(Fp8Codec, ExtremeVectors) {
  const auto codec = Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector}, 8);
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<uint16_t> scales;

  EXPECT_EQ(round_trip(*codec, std::vector<float>(8, 0.0f), &scales), std::vector<float>(8, 0.0f));
  EXPECT_EQ(scales[0], 0);

  const std::vector<float> tiny = round_trip(*codec, std::vector<float>(8, 1e-30f), &scales);
  EXPECT_EQ(scales[0], 1);
  EXPECT_EQ(tiny, std::vector<float>(8, 0.0f));

  std::vector<float> x = {inf, -inf, 1e30f, 1e6f, 0, 0, 0, nan};
  const std::vector<float> large = round_trip(*codec, x, &scales);
  EXPECT_EQ(scales[0], 0x7bff);
  EXPECT_EQ(large[0], 448.0f * 65504.0f);
  EXPECT_EQ(large[1], -large[0]);
  EXPECT_EQ(large[2], large[0]);
  EXPECT_NEAR(large[3] / 1e6f, 1.0f, 1.0f / 16);
  EXPECT_EQ(large[4], 0.0f);
  EXPECT_TRUE(std::isnan(large[7]));

  const auto unit = Codec::make({.kind = CodecKind::fp8}, 8);
  const std::vector<float> clipped = round_trip(*unit, x);
  EXPECT_EQ(clipped[0], 448.0f);
  EXPECT_EQ(clipped[1], -448.0f);
  EXPECT_TRUE(std::isnan(clipped[7]));
}

// The largest of `dim` normal magnitudes, squared, on average: the integral of 2 m P(largest > m).
double mean_square_of_largest(int dim) {
  constexpr double kStep = 1e-3;
  double sum = 0;
  for (double m = kStep / 2; m < 9; m += kStep) {
    sum += 2 * m * (1 - std::pow(std::erf(m / std::sqrt(2.0)), dim)) * kStep;
  }
  return sum;
}

// T14, the row of int8, and the law behind it: steps of absmax/127, errors of a twelfth of a step
// squared, and none at the largest coordinate, which is a whole number of steps but for the fp16
// that the scale is rounded up to.
TEST(Int8Codec, ErrorFollowsTheLawOfUniformSteps) {
  for (const int dim : {16, 64, 128, 256}) {
    const auto codec = Codec::make({.kind = CodecKind::int8}, dim);
    const double law = mean_square_of_largest(dim) / (127.0 * 127.0 * 12) * (dim - 1) / dim;
    for (const double sigma : {1.0, 0.01, 300.0}) {
      const std::vector<double> x = normals<double>(dim * 6000, 8, sigma);
      const double error = relative_mse(x, round_trip(*codec, x));
      EXPECT_NEAR(error / law, 1.0, 0.02) << dim << " " << sigma;
      if (dim == 128) {
        EXPECT_NEAR(error / 4.2e-5, 1.0, 0.03) << sigma;
      }
    }
  }
}

// Errors are spread evenly over half a step to either side.
TEST(Int8Codec, ErrorsAreUniform) {
  constexpr int kDim = 128, kVectors = 4000;
  const auto codec = Codec::make({.kind = CodecKind::int8}, kDim);
  const std::vector<double> x = normals<double>(kDim * kVectors, 9);
  std::vector<uint16_t> scales;
  const std::vector<double> decoded = round_trip(*codec, x, &scales);
  std::array<int, 10> cells{};
  double mean = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double steps = (decoded[i] - x[i]) / static_cast<double>(f16_to_float(scales[i / kDim]));
    ASSERT_LE(std::fabs(steps), 0.5 + 1e-5);
    mean += steps / static_cast<double>(x.size());
    ++cells[std::min<size_t>(9, static_cast<size_t>((steps + 0.5) * 10))];
  }
  const double n = static_cast<double>(x.size());
  EXPECT_NEAR(mean, 0, 4 * std::sqrt(1 / (12 * n)));
  // The largest coordinates, one in 128, lie in the middle.
  for (const size_t cell : {0, 1, 2, 3, 6, 7, 8, 9}) {
    EXPECT_NEAR(cells[cell] / n, 0.1 * 127 / 128, 5 * std::sqrt(0.09 / n)) << cell;
  }
}

TEST(Int8Codec, FloatAndDoubleAgree) {
  const auto codec = Codec::make({.kind = CodecKind::int8}, 32);
  const std::vector<float> x = normals<float>(32 * 2000, 10);
  const std::vector<double> wide(x.begin(), x.end());
  EXPECT_EQ(encode(*codec, kSite, x).codes, encode(*codec, kSite, wide).codes);
  const std::vector<float> decoded = round_trip(*codec, x);
  const std::vector<double> decoded_wide = round_trip(*codec, wide);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(static_cast<double>(decoded[i]), decoded_wide[i]);
  }
}

TEST(Int8Codec, ScaleIsTightAndNeverClips) {
  const auto codec = Codec::make({.kind = CodecKind::int8}, 8);
  Random random(11);
  for (int trial = 0; trial < 2000; ++trial) {
    const double magnitude = std::exp2(random.uniform() * 40 - 20);  // down to fp16 subnormals
    const std::vector<double> x = normals<double>(8, random.next_u64(), magnitude);
    std::vector<uint16_t> scales;
    const std::vector<double> decoded = round_trip(*codec, x, &scales);
    const double scale = static_cast<double>(f16_to_float(scales[0]));
    double absmax = 0;
    for (const double value : x) absmax = std::max(absmax, std::fabs(value));
    const auto smaller = static_cast<uint16_t>(scales[0] - 1);
    EXPECT_GE(scale * 127, absmax);
    EXPECT_LT(static_cast<double>(f16_to_float(smaller)) * 127, absmax);
    for (size_t j = 0; j < x.size(); ++j) {
      EXPECT_LE(std::fabs(decoded[j] - x[j]), scale * 0.50001);
    }
  }
}

// Scales and integers of PyTorch's own symmetric quantisation (golden/make_int8.py).
TEST(Int8Codec, StoresWhatPyTorchStores) {
  std::ifstream file(std::string(KVG_SOURCE_DIR) + "/kernels/reference/golden/int8.txt");
  ASSERT_TRUE(file);
  int vectors = 0;
  for (std::string line; std::getline(file, line); ++vectors) {
    std::istringstream fields(line);
    size_t dim = 0;
    uint16_t scale = 0;
    fields >> dim >> std::hex >> scale;
    std::vector<float> x(dim);
    for (float& value : x) {
      uint32_t bits = 0;
      fields >> bits;
      value = std::bit_cast<float>(bits);
    }
    const auto codec = Codec::make({.kind = CodecKind::int8}, static_cast<int>(dim));
    const Encoded encoded = encode(*codec, kSite, x);
    EXPECT_EQ(encoded.scales[0], scale);
    fields >> std::dec;
    for (size_t j = 0; j < dim; ++j) {
      int integer = 0;
      fields >> integer;
      EXPECT_EQ(static_cast<int8_t>(encoded.codes[j]), integer)
          << "vector " << vectors << ", " << j;
    }
    ASSERT_TRUE(fields);
  }
  EXPECT_EQ(vectors, 24);
}

// What was decoded is stored again as it was, so that moving a vector costs nothing.
TEST(Int8Codec, DecodedVectorsAreStoredUnchanged) {
  const auto codec = Codec::make({.kind = CodecKind::int8}, 64);
  const std::vector<double> x = normals<double>(64 * 500, 12);
  const Encoded once = encode(*codec, kSite, x);
  const Encoded twice = encode(*codec, kSite, decode<double>(*codec, kSite, once));
  EXPECT_EQ(once.codes, twice.codes);
  EXPECT_EQ(once.scales, twice.scales);
}

TEST(Int8Codec, ExtremeVectors) {
  const auto codec = Codec::make({.kind = CodecKind::int8}, 8);
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<uint16_t> scales;

  EXPECT_EQ(round_trip(*codec, std::vector<float>(8, 0.0f), &scales), std::vector<float>(8, 0.0f));
  EXPECT_EQ(scales[0], 0);

  EXPECT_EQ(round_trip(*codec, std::vector<float>(8, 1e-30f), &scales),
            std::vector<float>(8, 0.0f));
  EXPECT_EQ(scales[0], 1);

  // Halves go to the even neighbour, and -128 is not used.
  const std::vector<float> ties = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f, -127};
  EXPECT_EQ(round_trip(*codec, ties, &scales),
            (std::vector<float>{127, 0, 2, 2, 0, -2, -126, -127}));
  EXPECT_EQ(f16_to_float(scales[0]), 1.0f);

  std::vector<float> x = {inf, -inf, 1e30f, 1e6f, 0, 0, 0, -1e5f};
  const std::vector<float> large = round_trip(*codec, x, &scales);
  EXPECT_EQ(scales[0], 0x7bff);
  EXPECT_EQ(large[0], 127.0f * 65504.0f);
  EXPECT_EQ(large[1], -large[0]);
  EXPECT_EQ(large[2], large[0]);
  EXPECT_NEAR(large[3], 1e6f, 65504.0f / 2);
  EXPECT_EQ(large[4], 0.0f);

  x[6] = nan;
  for (const float value : round_trip(*codec, x)) EXPECT_TRUE(std::isnan(value));
}

}  // namespace
}  // namespace kvg
