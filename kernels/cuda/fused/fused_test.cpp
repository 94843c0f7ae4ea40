#include "kernels/cuda/fused/rms_norm.h"
#include "kernels/cuda/fused/swiglu.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/reference/rms_norm.h"
#include "kernels/reference/swiglu.h"

namespace kvg::cuda {
namespace {

struct Shape {
  int64_t rows, width;
};
// Odd row counts; a width below, at and above what one pass of a block covers.
constexpr Shape kShapes[] = {{1, 8}, {3, 256}, {127, 2048}, {129, 4096}, {5, 14336}, {2, 16384}};

double tolerance(DType dtype) { return dtype == DType::bf16 ? 1e-2 : 1e-5; }

Tensor host(std::vector<double>& values, int64_t rows, int64_t width) {
  return {values.data(), DType::f64, Device::cpu, {rows, width}};
}

class FusedTest : public GpuTest, public ::testing::WithParamInterface<DType> {};

TEST_P(FusedTest, RmsNormMatchesTheReference) {
  const DType dtype = GetParam();
  for (const auto& [rows, width] : kShapes) {
    for (const bool residual : {false, true}) {
      const auto n = static_cast<size_t>(rows * width);
      std::vector<double> x = random_values(n, dtype, mix_seed({1, n}));
      std::vector<double> delta = random_values(n, dtype, mix_seed({2, n}));
      std::vector<double> weight = random_values(static_cast<size_t>(width), dtype, 3);
      const size_t size = dtype_size(dtype);
      TestBuffer gpu_x(n * size), gpu_delta(n * size), gpu_weight(weight.size() * size),
          gpu_out(n * size);
      gpu_x.upload(x, dtype);
      gpu_delta.upload(delta, dtype);
      gpu_weight.upload(weight, dtype);
      KVG_CHECK_CUDA(
          launch(RmsNormLaunch{gpu_x.data(), residual ? gpu_delta.data() : nullptr,
                               gpu_weight.data(), gpu_out.data(), rows, width, 1e-5f, dtype},
                 nullptr));
      std::vector<double> expected(n);
      reference::rms_norm<double>({host(x, rows, width),
                                   residual ? host(delta, rows, width) : Tensor(),
                                   Tensor(weight.data(), DType::f64, Device::cpu, {width}), 1e-5,
                                   host(expected, rows, width)});
      EXPECT_LT(relative_norm(gpu_out.download(n, dtype), expected), tolerance(dtype))
          << rows << " x " << width << " residual " << residual;
      EXPECT_LT(relative_norm(gpu_x.download(n, dtype), x), tolerance(dtype));
    }
  }
}

TEST_P(FusedTest, SwigluMatchesTheReference) {
  const DType dtype = GetParam();
  for (const auto& [rows, width] : kShapes) {
    const auto n = static_cast<size_t>(rows * width);
    std::vector<double> gate_up = random_values(2 * n, dtype, mix_seed({4, n}));
    TestBuffer gpu_in(2 * n * dtype_size(dtype)), gpu_out(n * dtype_size(dtype));
    gpu_in.upload(gate_up, dtype);
    KVG_CHECK_CUDA(
        launch(SwigluLaunch{gpu_in.data(), gpu_out.data(), rows, width, dtype}, nullptr));
    std::vector<double> expected(n);
    reference::swiglu<double>({host(gate_up, rows, 2 * width), host(expected, rows, width)});
    EXPECT_LT(relative_norm(gpu_out.download(n, dtype), expected), tolerance(dtype))
        << rows << " x " << width;
  }
}

TEST_F(GpuTest, RefusesShapesTheyCannotServe) {
  EXPECT_EQ(launch(RmsNormLaunch{nullptr, nullptr, nullptr, nullptr, 1, 12}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch(RmsNormLaunch{nullptr, nullptr, nullptr, nullptr, 1, 16392}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch(SwigluLaunch{nullptr, nullptr, 1, 0}, nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(launch(SwigluLaunch{nullptr, nullptr, 1, 8, DType::f16}, nullptr),
            cudaErrorInvalidValue);
}

INSTANTIATE_TEST_SUITE_P(Types, FusedTest, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& type) { return std::string(dtype_name(type.param)); });

}  // namespace
}  // namespace kvg::cuda
