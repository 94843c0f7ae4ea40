#include "kernels/reference/codebook.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }
double tail(double x) { return std::erfc(x / std::numbers::sqrt2) / 2; }

// Lloyd's algorithm on the positive half of the normal law: midpoints, then means of the cells,
// until nothing moves. It shares nothing with the way in which the constants were made (Newton's
// method).
std::vector<double> lloyd(int cells) {
  std::vector<double> point(static_cast<size_t>(cells));
  for (size_t i = 0; i < point.size(); ++i) point[i] = 3.0 * (static_cast<double>(i) + 0.5) / cells;
  double moved = 1;
  for (int pass = 0; pass < 100000 && moved > 1e-15; ++pass) {
    moved = 0;
    double low = 0;
    for (size_t i = 0; i < point.size(); ++i) {
      const bool last = i + 1 == point.size();
      const double high =
          last ? std::numeric_limits<double>::infinity() : (point[i] + point[i + 1]) / 2;
      const double mean = (density(low) - density(high)) / (tail(low) - tail(high));
      moved = std::max(moved, std::fabs(mean - point[i]));
      point[i] = mean;
      low = high;
    }
  }
  return point;
}

// E (z - c(z))^2 by Simpson's rule cell by cell (the integrand is smooth there), for any quantiser.
double mean_squared_error(const Codebook& book) {
  double total = 0;
  for (int cell = 0; cell < book.cells(); ++cell) {
    const auto i = static_cast<size_t>(cell);
    const double low = cell == 0 ? 0.0 : book.threshold[i - 1];
    const double high = cell + 1 == book.cells() ? 12.0 : book.threshold[i];
    constexpr int kSteps = 4000;
    const double width = (high - low) / kSteps;
    for (int step = 0; step <= kSteps; ++step) {
      const double x = low + width * step;
      const double error = x - book.magnitude[i];
      const double weight = step == 0 || step == kSteps ? 1 : (step % 2 == 1 ? 4 : 2);
      total += weight * width / 3 * error * error * density(x);
    }
  }
  return 2 * total;
}

class CodebookTest : public testing::TestWithParam<int> {};

TEST_P(CodebookTest, PointsSolveTheLloydMaxEquations) {
  const Codebook& book = gaussian_codebook(GetParam());
  EXPECT_EQ(book.bits, GetParam());
  const std::vector<double> point = lloyd(book.cells());
  for (size_t i = 0; i < point.size(); ++i) EXPECT_NEAR(book.magnitude[i], point[i], 1e-11);
  for (size_t i = 0; i + 1 < point.size(); ++i) {
    EXPECT_NEAR(book.threshold[i], (book.magnitude[i] + book.magnitude[i + 1]) / 2, 1e-15);
  }
  for (size_t i = point.size(); i < book.magnitude.size(); ++i) EXPECT_EQ(book.magnitude[i], 0);
}

TEST_P(CodebookTest, StatedErrorIsTheErrorOfTheQuantiser) {
  const Codebook& book = gaussian_codebook(GetParam());
  EXPECT_NEAR(book.mse, mean_squared_error(book), 1e-11);
}

INSTANTIATE_TEST_SUITE_P(Bits, CodebookTest, testing::Values(1, 2, 3, 4));

// J. Max, Quantizing for minimum distortion, 1960, table I.
TEST(Codebook, ErrorsPublishedByMax) {
  EXPECT_NEAR(gaussian_codebook(1).mse, 1 - 2 / std::numbers::pi, 1e-15);
  EXPECT_NEAR(gaussian_codebook(2).mse, 0.1175, 5e-5);
  EXPECT_NEAR(gaussian_codebook(3).mse, 0.03454, 1e-5);
  EXPECT_NEAR(gaussian_codebook(4).mse, 0.009497, 5e-6);
}

}  // namespace
}  // namespace kvg
