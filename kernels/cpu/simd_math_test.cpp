#include "kernels/cpu/simd_math.h"

#include "base/random.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace kvg::cpu {
namespace {

TEST(FastExp, FloatKeepsItsErrorBound) {
  double worst = 0;
  for (double x = -87; x <= 88; x += 1.0 / 4096 + 1e-7) {
    const auto argument = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(argument));
    worst = std::max(worst, std::fabs(static_cast<double>(fast_exp(argument)) / exact - 1));
  }
  EXPECT_LT(worst, 2.5e-7);
}

TEST(FastExp, DoubleKeepsItsErrorBound) {
  Random random(11);
  long double worst = 0;
  for (int i = 0; i < 300000; ++i) {
    const double x = -708 + random.uniform() * (708 + 709);
    const long double exact = std::exp(static_cast<long double>(x));
    worst = std::max(worst, std::fabs(static_cast<long double>(fast_exp(x)) / exact - 1));
  }
  EXPECT_LT(static_cast<double>(worst), 5e-16);
}

TEST(FastExp, EndsOfTheRange) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(0.0), 1.0);
  EXPECT_EQ(fast_exp(-kInfinity), 0.0f);  // a slot that may not be read weighs nothing
  EXPECT_EQ(fast_exp(-87.5f), 0.0f);
  EXPECT_EQ(fast_exp(kInfinity), fast_exp(88.0f));
  EXPECT_EQ(fast_exp(static_cast<double>(-kInfinity)), 0.0);
  EXPECT_EQ(fast_exp(static_cast<double>(kInfinity)), fast_exp(709.0));
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<double>::quiet_NaN())));
}

}  // namespace
}  // namespace kvg::cpu
