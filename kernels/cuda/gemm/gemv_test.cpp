#include "kernels/cuda/gemm/gemv.h"

#include "kernels/cuda/gpu_test.h"

#include <vector>

namespace kvg::cuda {
namespace {

struct Shape {
  int64_t rows, in, out;
};
// Rows from 1 to 8; columns that do not fill a step, a warp or a block; odd numbers of results.
constexpr Shape kShapes[] = {{1, 8, 1},      {1, 4096, 129}, {2, 24, 17},    {3, 288, 1000},
                             {5, 1000, 127}, {7, 2048, 1},   {8, 4096, 640}, {8, 14336, 33}};

std::vector<double> product(const std::vector<double>& x, const std::vector<double>& weight,
                            const std::vector<double>& bias, const Shape& shape) {
  std::vector<double> result;
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t o = 0; o < shape.out; ++o) {
      double sum = bias.empty() ? 0 : bias[static_cast<size_t>(o)];
      for (int64_t i = 0; i < shape.in; ++i) {
        sum += x[static_cast<size_t>(row * shape.in + i)] *
               weight[static_cast<size_t>(o * shape.in + i)];
      }
      result.push_back(sum);
    }
  }
  return result;
}

class GemvTest : public GpuTest, public ::testing::WithParamInterface<DType> {};

TEST_P(GemvTest, MatchesTheReference) {
  const DType type = GetParam();
  for (const Shape& shape : kShapes) {
    for (const bool biased : {false, true}) {
      const auto results = static_cast<size_t>(shape.rows * shape.out);
      const std::vector<double> x =
          random_values(static_cast<size_t>(shape.rows * shape.in), DType::bf16, 1);
      const std::vector<double> weight =
          random_values(static_cast<size_t>(shape.out * shape.in), DType::bf16, 2);
      const std::vector<double> bias =
          random_values(biased ? static_cast<size_t>(shape.out) : 0, DType::bf16, 3);
      TestBuffer gpu_x(x.size() * 2), gpu_weight(weight.size() * 2), gpu_bias(bias.size() * 2 + 2),
          result(results * dtype_size(type));
      gpu_x.upload(x, DType::bf16);
      gpu_weight.upload(weight, DType::bf16);
      gpu_bias.upload(bias, DType::bf16);
      const GemvLaunch p{gpu_x.data(),
                         gpu_weight.data(),
                         biased ? gpu_bias.data() : nullptr,
                         result.data(),
                         shape.rows,
                         shape.in,
                         shape.out,
                         type};
      KVG_CHECK_CUDA(launch(p, nullptr));
      const std::vector<double> found = result.download(results, type);
      EXPECT_LT(relative_norm(found, product(x, weight, bias, shape)),
                type == DType::bf16 ? 5e-3 : 2e-6)
          << shape.rows << " x " << shape.in << " -> " << shape.out << (biased ? " with bias" : "");
      KVG_CHECK_CUDA(launch(p, nullptr));
      EXPECT_EQ(result.download(results, type), found);
    }
  }
}

TEST_F(GpuTest, GemvRefusesShapesItCannotServe) {
  EXPECT_FALSE(gemv_serves(9, 64));
  EXPECT_FALSE(gemv_serves(1, 12));
  EXPECT_EQ(launch(GemvLaunch{nullptr, nullptr, nullptr, nullptr, 9, 64, 8}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch(GemvLaunch{nullptr, nullptr, nullptr, nullptr, 1, 12, 8}, nullptr),
            cudaErrorInvalidValue);
}

INSTANTIATE_TEST_SUITE_P(Types, GemvTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& type) { return std::string(dtype_name(type.param)); });

}  // namespace
}  // namespace kvg::cuda
