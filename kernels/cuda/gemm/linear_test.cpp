#include "kernels/cuda/gemm/linear.h"

#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/gemm/wide_sm90.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/decode.h"
#include "kernels/reference/linear.h"

#include <string>

namespace kvg::cuda {
namespace {

struct Case {
  int64_t rows, in, out;
};
// Odd counts; inputs that no 16-byte access divides; below and above what gemv serves.
constexpr Case kCases[] = {{1, 256, 512}, {3, 192, 131},  {8, 1024, 96}, {9, 64, 64},
                           {5, 100, 37},  {127, 128, 65}, {1000, 72, 80}};

struct Bytes {
  std::vector<uint8_t> value;
  friend bool operator==(const Bytes&, const Bytes&) = default;
};

// One product on the GPU and in double precision.
class Product {
 public:
  Product(const Case& shape, bool bias, DType out_type, int64_t skipped_rows = 0)
      : shape_(shape),
        out_type_(out_type),
        x_(random_values(count(shape.rows, shape.in), DType::bf16, mix_seed({1, seed()}))),
        weight_(random_values(count(shape.out, shape.in), DType::bf16, mix_seed({2, seed()}))),
        bias_(random_values(count(shape.out, 1), DType::bf16, mix_seed({3, seed()}))),
        gpu_x_(2 * count(shape.rows + skipped_rows, shape.in)),
        gpu_weight_(2 * weight_.size()),
        gpu_bias_(2 * bias_.size()),
        gpu_out_(count(shape.rows, shape.out) * dtype_size(out_type)) {
    std::vector<double> padded(count(skipped_rows, shape.in), 1e30);
    padded.insert(padded.end(), x_.begin(), x_.end());
    gpu_x_.upload(padded, DType::bf16);
    gpu_weight_.upload(weight_, DType::bf16);
    gpu_bias_.upload(bias_, DType::bf16);
    const Tensor all_x(gpu_x_.data(), DType::bf16, Device::cuda,
                       {shape.rows + skipped_rows, shape.in});
    params_ = {all_x.rows(skipped_rows, shape.rows),
               {gpu_weight_.data(), DType::bf16, Device::cuda, {shape.out, shape.in}},
               {},
               {gpu_out_.data(), out_type, Device::cuda, {shape.rows, shape.out}}};
    if (bias) params_.bias = {gpu_bias_.data(), DType::bf16, Device::cuda, {shape.out}};
  }

  const LinearParams& params() const { return params_; }
  void poison() {
    KVG_CHECK_CUDA(cudaMemset(gpu_out_.data(), 0xff, params_.out.bytes()));
    KVG_CHECK_CUDA(cudaDeviceSynchronize());
  }
  std::vector<double> result() const {
    return gpu_out_.download(count(shape_.rows, shape_.out), out_type_);
  }
  Bytes raw_result() const {
    Bytes raw{std::vector<uint8_t>(params_.out.bytes())};
    KVG_CHECK_CUDA(
        cudaMemcpy(raw.value.data(), gpu_out_.data(), raw.value.size(), cudaMemcpyDeviceToHost));
    return raw;
  }
  std::vector<double> expected() {
    std::vector<double> out(count(shape_.rows, shape_.out));
    LinearParams host{{x_.data(), DType::f64, Device::cpu, {shape_.rows, shape_.in}},
                      {weight_.data(), DType::f64, Device::cpu, {shape_.out, shape_.in}},
                      {},
                      {out.data(), DType::f64, Device::cpu, {shape_.rows, shape_.out}}};
    if (params_.bias) host.bias = {bias_.data(), DType::f64, Device::cpu, {shape_.out}};
    reference::linear<double>(host);
    return out;
  }

 private:
  static size_t count(int64_t a, int64_t b) { return static_cast<size_t>(a * b); }
  uint64_t seed() const {
    return mix_seed({static_cast<uint64_t>(shape_.rows), static_cast<uint64_t>(shape_.in)});
  }

  Case shape_;
  DType out_type_;
  std::vector<double> x_, weight_, bias_;
  TestBuffer gpu_x_, gpu_weight_, gpu_bias_, gpu_out_;
  LinearParams params_;
};

std::string name(const Case& shape) {
  return std::to_string(shape.rows) + " x " + std::to_string(shape.in) + " x " +
         std::to_string(shape.out);
}

class LinearTest : public GpuTest {};

TEST_F(LinearTest, MatchesTheReference) {
  CudaContext context;
  Linear linear(context);
  for (const Case& shape : kCases) {
    for (const bool bias : {false, true}) {
      for (const DType out : {DType::bf16, DType::f32}) {
        Product product(shape, bias, out);
        linear.run(product.params());
        context.synchronize();
        EXPECT_LT(relative_norm(product.result(), product.expected()),
                  out == DType::bf16 ? 5e-3 : 1e-5)
            << name(shape) << " bias " << bias << " " << dtype_name(out);
      }
    }
  }
}

TEST_F(LinearTest, BothKernelsComputeTheSameAndRepeatBitwise) {
  CudaContext context;
  Linear linear(context);
  for (const LinearKernel kernel : {LinearKernel::cublaslt, LinearKernel::gemv}) {
    for (const int64_t rows : {1, 2, 8}) {
      Product product({rows, 4096, 520}, false, DType::f32);
      linear.run(product.params(), kernel);
      context.synchronize();
      EXPECT_LT(relative_norm(product.result(), product.expected()), 1e-5) << rows;
      const Bytes first = product.raw_result();
      for (int repeat = 0; repeat < 5; ++repeat) {
        product.poison();
        linear.run(product.params(), kernel);
        context.synchronize();
        EXPECT_EQ(product.raw_result(), first) << rows;
      }
    }
  }
}

// Rows over every width of tile, all layouts: tiles that end outside W, blocks that share a tile,
// less work than blocks and more.
TEST_F(LinearTest, WideProductsMatchTheReferenceAndRepeatBitwise) {
  if (!runs_sm90_code()) GTEST_SKIP() << "skipped: the kernel is for compute capability 9.0";
  CudaContext context;
  const TestBuffer counters(kWideCounterBytes), parts(kWidePartsBytes);
  KVG_CHECK_CUDA(cudaMemset(counters.data(), 0, kWideCounterBytes));
  constexpr Case kWideCases[] = {{1, 264, 200},   {17, 1032, 72},  {64, 72, 648},
                                 {64, 520, 1288}, {65, 1000, 328}, {128, 136, 640},
                                 {129, 8, 14336}, {200, 904, 72},  {256, 2056, 1160}};
  constexpr WideLayout kLayouts[] = {{128, 1}, {80, 1}, {112, 2}, {96, 4}, {128, 4}, {128, 2}};
  for (const Case& shape : kWideCases) {
    for (const bool wide_result : {false, true}) {
      Product product(shape, shape.rows % 2 == 0, wide_result ? DType::f32 : DType::bf16);
      const std::vector<double> expected = product.expected();
      const LinearParams& p = product.params();
      for (const WideLayout& layout : kLayouts) {
        const WideLaunch wide{p.x.data,   p.weight.data,   p.bias.data,  p.out.data,
                              shape.rows, shape.in,        shape.out,    p.out.dtype,
                              false,      counters.data(), parts.data(), layout};
        Bytes first;
        for (int repeat = 0; repeat < 3; ++repeat) {
          product.poison();
          KVG_CHECK_CUDA(launch(wide, context.stream()));
          context.synchronize();
          if (repeat == 0) {
            first = product.raw_result();
            EXPECT_LT(relative_norm(product.result(), expected), wide_result ? 1e-5 : 5e-3)
                << name(shape) << ", tiles of " << layout.tile_rows << ", " << layout.splits;
          }
          EXPECT_EQ(product.raw_result(), first) << name(shape);
        }
      }
    }
  }
}

TEST_F(LinearTest, WideLayoutsFillTheDevice) {
  const auto is = [](const WideLayout& layout, int tile_rows, int splits) {
    return layout.tile_rows == tile_rows && layout.splits == splits;
  };
  EXPECT_TRUE(is(wide_layout(128, 28672, 4096, 132), 112, 1));  // two whole rounds, as the next
  EXPECT_TRUE(is(wide_layout(128, 32768, 4096, 132), 128, 1));
  EXPECT_TRUE(is(wide_layout(128, 4096, 14336, 132), 128, 4));
  EXPECT_TRUE(is(wide_layout(128, 6144, 4096, 132), 112, 2));
  EXPECT_TRUE(is(wide_layout(16, 6144, 4096, 132), 112, 1));
}

TEST_F(LinearTest, ReadsRowsThatAreNotAligned) {
  CudaContext context;
  Linear linear(context);
  for (const int64_t rows : {4, 40}) {
    Product product({rows, 36, 48}, false, DType::bf16, 1);  // 72 bytes past an aligned address
    linear.run(product.params());
    context.synchronize();
    EXPECT_LT(relative_norm(product.result(), product.expected()), 5e-3) << rows;
  }
}

TEST_F(LinearTest, CanBeRecordedBeforeItEverRan) {
  CudaContext context;
  Linear linear(context);
  Product few({5, 1024, 72}, true, DType::bf16), many({71, 520, 328}, true, DType::f32);
  const std::unique_ptr<Recording> recording = context.record([&] {
    linear.run(few.params());
    linear.run(many.params());
  });
  recording->replay();
  context.synchronize();
  EXPECT_LT(relative_norm(few.result(), few.expected()), 5e-3);
  EXPECT_LT(relative_norm(many.result(), many.expected()), 1e-5);
}

TEST_F(LinearTest, DeclaresWhatItMovesAndDoes) {
  CudaContext context;
  Linear linear(context);
  Product few({8, 1024, 96}, true, DType::f32), many({127, 128, 65}, false, DType::bf16);
  Product none({0, 128, 65}, false, DType::bf16);
  context.phase(Phase::head, -1);
  linear.run(few.params());
  context.phase(Phase::mlp, 3);
  linear.run(many.params());
  linear.run(none.params());
  const PhaseLedger ledger = context.take_ledger();
  const PhaseWork& head = ledger[static_cast<size_t>(Phase::head)];
  EXPECT_EQ(head.launches, 1);
  EXPECT_EQ(head.bytes, 2 * (8 * 1024 + 96 * 1024 + 96) + 4 * 8 * 96);
  EXPECT_EQ(head.flops, 2 * 8 * 1024 * 96);
  const PhaseWork& mlp = ledger[static_cast<size_t>(Phase::mlp)];
  EXPECT_EQ(mlp.launches, 1);
  EXPECT_EQ(mlp.bytes, 2 * (127 * 128 + 65 * 128 + 127 * 65));
  EXPECT_EQ(mlp.flops, 2 * 127 * 128 * 65);
}

TEST_F(LinearTest, GemvRefusesWhatItCannotServe) {
  CudaContext context;
  Linear linear(context);
  Product many({9, 64, 64}, false, DType::bf16), odd({5, 100, 37}, false, DType::bf16);
  EXPECT_THROW(linear.run(many.params(), LinearKernel::gemv), Error);
  EXPECT_THROW(linear.run(odd.params(), LinearKernel::gemv), Error);
}

}  // namespace
}  // namespace kvg::cuda
