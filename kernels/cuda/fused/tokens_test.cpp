#include "kernels/cuda/fused/convert.h"
#include "kernels/cuda/fused/embed.h"
#include "kernels/cuda/fused/fused_test_util.h"
#include "kernels/cuda/fused/nll.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/reference/nll.h"

#include <limits>
#include <vector>

namespace kvg::cuda {
namespace {

using TokensTest = GpuTest;

TEST_F(TokensTest, EmbedCopiesRowsAndClampsTokens) {
  constexpr int64_t kVocab = 37, kHidden = 136;
  const std::vector<double> table = random_values(kVocab * kHidden, DType::bf16, 1);
  const std::vector<int32_t> tokens = {5, 0, 36, 5, -1, 37, 2000000000};
  const std::vector<size_t> rows = {5, 0, 36, 5, 0, 36, 36};
  TestBuffer gpu_table(table.size() * 2), out(tokens.size() * kHidden * 2);
  gpu_table.upload(table, DType::bf16);
  const DeviceVector<int32_t> gpu_tokens(tokens);
  EmbedLaunch p;
  p.tokens = gpu_tokens.data();
  p.table = gpu_table.data();
  p.out = out.data();
  p.rows = std::ssize(tokens);
  p.vocab = kVocab;
  p.row_bytes = kHidden * 2;
  KVG_CHECK_CUDA(launch(p, nullptr));
  const std::vector<double> found = out.download(tokens.size() * kHidden, DType::bf16);
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i], table[rows[i / kHidden] * kHidden + i % kHidden]) << i;
  }
  p.row_bytes = 24;
  EXPECT_EQ(launch(p, nullptr), cudaErrorInvalidValue);
}

std::vector<double> nll_of(const std::vector<double>& logits, const std::vector<int32_t>& targets) {
  const int64_t rows = std::ssize(targets);
  TestBuffer gpu_logits(logits.size() * 4);
  gpu_logits.upload(logits, DType::f32);
  const DeviceVector<int32_t> gpu_targets(targets);
  const DeviceVector<double> nll(targets.size());
  KVG_CHECK_CUDA(launch(NllLaunch{static_cast<const float*>(gpu_logits.data()), gpu_targets.data(),
                                  nll.data(), rows, std::ssize(logits) / rows},
                        nullptr));
  return nll.download();
}

TEST_F(TokensTest, NllMatchesTheReference) {
  for (const int64_t vocab : {1, 31, 1000, 32768, 128256}) {
    for (const double scale : {1.0, 30.0}) {
      constexpr int64_t kRows = 3;
      const auto n = static_cast<size_t>(kRows * vocab);
      std::vector<double> logits = random_values(n, DType::f32, mix_seed({3, n}));
      for (double& logit : logits) logit = static_cast<float>(scale * logit - 100);
      std::vector<int32_t> targets = {0, static_cast<int32_t>(vocab / 2),
                                      static_cast<int32_t>(vocab - 1)};
      std::vector<double> expected(kRows);
      reference::nll<double>({Tensor(logits.data(), DType::f64, Device::cpu, {kRows, vocab}),
                              Tensor(targets.data(), DType::i32, Device::cpu, {kRows}),
                              Tensor(expected.data(), DType::f64, Device::cpu, {kRows})});
      const std::vector<double> found = nll_of(logits, targets);
      for (size_t row = 0; row < kRows; ++row) {
        EXPECT_NEAR(found[row], expected[row], 2e-6) << vocab << " scale " << scale;
      }
      EXPECT_EQ(found, nll_of(logits, targets));
    }
  }
}

TEST_F(TokensTest, NllKeepsExtremes) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NEAR(nll_of({-infinity, 5, -infinity, 5}, {1})[0], std::log(2.0), 1e-7);
  EXPECT_EQ(nll_of({-infinity, 5, 1, 5}, {0})[0], infinity);
  EXPECT_TRUE(std::isnan(nll_of({1, nan, 2, 3}, {0})[0]));
  EXPECT_NEAR(nll_of({3e38, 3e38}, {1})[0], std::log(2.0), 1e-7);
}

template <typename From, typename To>
std::vector<To> converted(const std::vector<From>& values, DType from, DType to) {
  const DeviceVector<From> source(values);
  const DeviceVector<To> target(values.size());
  KVG_CHECK_CUDA(
      launch(ConvertLaunch{source.data(), target.data(), std::ssize(values), from, to}, nullptr));
  return target.download();
}

TEST_F(TokensTest, ConvertRoundsAsTheHostDoes) {
  std::vector<double> wide = random_values(2000003, DType::f32, 9);
  std::vector<float> single(wide.begin(), wide.end());
  single[0] = 0.0f;
  single[1] = -1e30f;
  std::vector<uint16_t> narrow;
  for (size_t i = 0; i < wide.size(); ++i) {
    wide[i] = single[i];
    narrow.push_back(float_to_bf16(single[i]));
  }
  std::vector<double> rounded;
  for (const uint16_t bits : narrow) rounded.push_back(bf16_to_float(bits));
  const std::vector<float> rounded_single(rounded.begin(), rounded.end());
  EXPECT_EQ((converted<double, float>(wide, DType::f64, DType::f32)), single);
  EXPECT_EQ((converted<double, uint16_t>(wide, DType::f64, DType::bf16)), narrow);
  EXPECT_EQ((converted<float, double>(single, DType::f32, DType::f64)), wide);
  EXPECT_EQ((converted<float, uint16_t>(single, DType::f32, DType::bf16)), narrow);
  EXPECT_EQ((converted<uint16_t, double>(narrow, DType::bf16, DType::f64)), rounded);
  EXPECT_EQ((converted<uint16_t, float>(narrow, DType::bf16, DType::f32)), rounded_single);
  EXPECT_EQ(launch(ConvertLaunch{nullptr, nullptr, 1, DType::f16, DType::f32}, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace kvg::cuda
