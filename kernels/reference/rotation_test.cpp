#include "kernels/reference/rotation.h"

#include "base/error.h"
#include "kernels/reference/codec_test_util.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr Rotation kRotations[] = {Rotation::hd, Rotation::hdhd, Rotation::haar};
constexpr CodecSite kSite{5, 2, false};

// Row j is P e_j: the transpose of P, row-major.
template <typename T>
std::vector<T> images_of_axes(const Rotator& rotator, const CodecSite& site, int d) {
  std::vector<T> rows(static_cast<size_t>(d * d), T{0});
  for (int j = 0; j < d; ++j) rows[static_cast<size_t>(j * d + j)] = 1;
  rotator.apply(site, rows.data(), d);
  return rows;
}

TEST(Rotation, IsOrthogonal) {
  for (const Rotation rotation : kRotations) {
    for (const int d : {8, 16, 64, 128, 256}) {
      const auto rotator = Rotator::make(rotation, d, 11);
      const std::vector<double> rows = images_of_axes<double>(*rotator, kSite, d);
      for (int i = 0; i < d; ++i) {
        for (int j = 0; j <= i; ++j) {
          ASSERT_NEAR(inner_product(rows.data() + i * d, rows.data() + j * d, d), i == j, 1e-13)
              << "d=" << d << " rotation=" << static_cast<int>(rotation);
        }
      }
    }
  }
}

TEST(Rotation, TransposedIsTheInverse) {
  for (const Rotation rotation : kRotations) {
    for (const int d : {8, 32, 128, 1024}) {
      const auto rotator = Rotator::make(rotation, d, 12);
      const std::vector<double> x = normals(3 * d, 1);
      std::vector<double> y = x;
      rotator->apply(kSite, y.data(), 3);
      EXPECT_GT(relative_error(x.data(), y.data(), 3 * d), 0.5);
      rotator->apply_transposed(kSite, y.data(), 3);
      EXPECT_LT(relative_error(x.data(), y.data(), 3 * d), 1e-26);
      rotator->apply_transposed(kSite, y.data(), 3);
      rotator->apply(kSite, y.data(), 3);
      EXPECT_LT(relative_error(x.data(), y.data(), 3 * d), 1e-26);
    }
  }
}

TEST(Rotation, FloatAgreesWithDouble) {
  for (const Rotation rotation : kRotations) {
    const int d = 128;
    const auto rotator = Rotator::make(rotation, d, 13);
    std::vector<float> x = normals<float>(9 * d, 2);
    std::vector<double> wide(x.begin(), x.end());
    rotator->apply(kSite, x.data(), 9);
    rotator->apply(kSite, wide.data(), 9);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(static_cast<double>(x[i]), wide[i], 5e-6);
    rotator->apply_transposed(kSite, x.data(), 9);
    rotator->apply_transposed(kSite, wide.data(), 9);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(static_cast<double>(x[i]), wide[i], 5e-6);
  }
}

// Against the definition, entry by entry: H_ij = (-1)^popcount(i & j).
TEST(Rotation, HadamardMatchesItsDefinition) {
  const uint64_t seed = 14;
  const auto sign = [&](int stage, int j) {
    const uint64_t word =
        rotation_sign_word(rotation_stream(seed, kSite, stage), static_cast<uint64_t>(j / 64));
    return word >> (j % 64) & 1 ? -1.0 : 1.0;
  };
  const auto hadamard = [](int i, int j) {
    return std::popcount(static_cast<unsigned>(i & j)) % 2 == 0 ? 1.0 : -1.0;
  };
  for (int d = 8; d <= 256; d *= 2) {
    const auto one = images_of_axes<double>(*Rotator::make(Rotation::hd, d, seed), kSite, d);
    const auto two = images_of_axes<double>(*Rotator::make(Rotation::hdhd, d, seed), kSite, d);
    for (int i = 0; i < d; ++i) {
      for (int j = 0; j < d; ++j) {
        double twice = 0;
        for (int k = 0; k < d; ++k) twice += hadamard(i, k) * sign(1, k) * hadamard(k, j);
        const auto at = static_cast<size_t>(j * d + i);
        ASSERT_NEAR(one[at], hadamard(i, j) * sign(0, j) / std::sqrt(d), 1e-14);
        ASSERT_NEAR(two[at], twice * sign(0, j) / d, 1e-14);
      }
    }
  }
}

TEST(Rotation, SitesAndSeedsDiffer) {
  const CodecSite sites[] = {{0, 0, false}, {0, 0, true}, {0, 1, false}, {1, 0, false},
                             {1, 2, true},  {2, 1, true}, {1, 2, false}};
  for (const Rotation rotation : kRotations) {
    const int d = 64;
    std::vector<std::vector<double>> images;
    for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63}) {
      const auto rotator = Rotator::make(rotation, d, seed);
      for (const CodecSite& site : sites)
        images.push_back(images_of_axes<double>(*rotator, site, d));
    }
    for (size_t a = 0; a < images.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        // Independent rotations: |P - Q|^2 / |P|^2 is near 2.
        EXPECT_GT(relative_error(images[a].data(), images[b].data(), d * d), 1.0);
      }
    }
    const auto again = Rotator::make(rotation, d, 0);
    EXPECT_EQ(images_of_axes<double>(*again, sites[0], d), images[0]);
  }
}

TEST(Rotation, SignsAreBalancedAndStagesIndependent) {
  int ones[2] = {0, 0};
  int agree = 0;
  constexpr int kWords = 4000;
  for (int i = 0; i < kWords; ++i) {
    const CodecSite site{i % 100, i / 100, i % 2 == 1};
    const uint64_t first = rotation_sign_word(rotation_stream(3, site, 0), 0);
    const uint64_t second = rotation_sign_word(rotation_stream(3, site, 1), 0);
    const uint64_t next = rotation_sign_word(rotation_stream(3, site, 0), 1);
    ones[0] += std::popcount(first);
    ones[1] += std::popcount(first ^ next);
    agree += std::popcount(first ^ second);
  }
  const double four_sigma = 4 * 0.5 * std::sqrt(64.0 * kWords);
  EXPECT_NEAR(ones[0], 32.0 * kWords, four_sigma);
  EXPECT_NEAR(ones[1], 32.0 * kWords, four_sigma);
  EXPECT_NEAR(agree, 32.0 * kWords, four_sigma);
}

// Moments of the uniform law: an entry has mean 0, E P_ij^2 = 1/d, E P_ij^4 = 3/(d(d+2)), and the
// trace has mean 0 and variance 1. A QR decomposition without the sign fix fails the first.
TEST(Rotation, HaarMoments) {
  constexpr int kDim = 16;
  constexpr int kDraws = 4000;
  const auto rotator = Rotator::make(Rotation::haar, kDim, 15);
  double trace = 0;
  double trace_squared = 0;
  double last = 0;
  double fourth = 0;
  for (int i = 0; i < kDraws; ++i) {
    const auto p = images_of_axes<double>(*rotator, {i, 0, false}, kDim);
    double sum = 0;
    for (size_t j = 0; j < kDim; ++j) sum += p[j * kDim + j];
    trace += sum;
    trace_squared += sum * sum;
    last += p[kDim * kDim - 1];
    for (const double entry : p) fourth += entry * entry * entry * entry;
  }
  EXPECT_NEAR(trace / kDraws, 0, 4 / std::sqrt(kDraws));
  EXPECT_NEAR(trace_squared / kDraws, 1, 4 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(last / kDraws, 0, 4 / std::sqrt(kDraws * kDim));
  EXPECT_NEAR(fourth / (kDraws * kDim * kDim) * kDim * (kDim + 2) / 3, 1, 0.01);
}

// Among many draws some are nearly singular; orthogonalising once would leave 1e-12 there.
TEST(Rotation, HaarIsOrthogonalForEveryDraw) {
  constexpr int kDim = 16;
  const auto rotator = Rotator::make(Rotation::haar, kDim, 17);
  double worst = 0;
  for (int i = 0; i < 4000; ++i) {
    const auto rows = images_of_axes<double>(*rotator, {i, 0, false}, kDim);
    for (int a = 0; a < kDim; ++a) {
      for (int b = 0; b < a; ++b) {
        const double product = inner_product(rows.data() + a * kDim, rows.data() + b * kDim, kDim);
        worst = std::max(worst, std::fabs(product));
      }
    }
  }
  EXPECT_LT(worst, 1e-14);
}

TEST(Rotation, ThreadsDrawTheSameHaarMatrices) {
  constexpr int kDim = 64;
  const auto shared = Rotator::make(Rotation::haar, kDim, 16);
  std::vector<std::vector<float>> found(4);
  {
    std::vector<std::jthread> threads;
    for (std::vector<float>& rows : found) {
      threads.emplace_back([&] {
        for (int layer = 0; layer < 20; ++layer) {
          const auto images = images_of_axes<float>(*shared, {layer, 0, false}, kDim);
          rows.insert(rows.end(), images.begin(), images.end());
        }
      });
    }
  }
  std::vector<float> expected;
  const auto alone = Rotator::make(Rotation::haar, kDim, 16);
  for (int layer = 0; layer < 20; ++layer) {
    const auto images = images_of_axes<float>(*alone, {layer, 0, false}, kDim);
    expected.insert(expected.end(), images.begin(), images.end());
  }
  for (const std::vector<float>& rows : found) EXPECT_EQ(rows, expected);
}

TEST(Rotation, RefusesDimensionsItCannotRotate) {
  for (const Rotation rotation : kRotations) {
    for (const int d : {-8, 0, 4, 12, 2048})
      EXPECT_THROW(Rotator::make(rotation, d, 0), Error) << d;
  }
  EXPECT_THROW(Rotator::make(Rotation::hd, 96, 0), Error);
  EXPECT_THROW(Rotator::make(Rotation::hdhd, 24, 0), Error);
  EXPECT_NO_THROW(Rotator::make(Rotation::haar, 96, 0));
}

}  // namespace
}  // namespace kvg
