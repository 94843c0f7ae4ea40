#include "kernels/cuda/fused/sample.h"

#include "kernels/cuda/fused/fused_test_util.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/sample.h"

#include <limits>
#include <span>
#include <vector>

namespace kvg::cuda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Choice {
  double temperature = 0, top_p = 1;
  uint64_t seed = 7;
};

// Row r stands at position 1000 + 3 r.
std::vector<int64_t> positions_of(size_t rows) {
  std::vector<int64_t> positions;
  for (size_t row = 0; row < rows; ++row) positions.push_back(1000 + 3 * static_cast<int>(row));
  return positions;
}

std::vector<int32_t> on_device(const std::vector<float>& logits, size_t rows,
                               const Choice& choice) {
  const DeviceVector<float> gpu_logits(logits);
  const DeviceVector<int32_t> tokens(rows);
  const DeviceVector<int64_t> positions(positions_of(rows));
  SampleLaunch p;
  p.logits = gpu_logits.data();
  p.tokens = tokens.data();
  p.positions = positions.data();
  p.rows = static_cast<int64_t>(rows);
  p.vocab = static_cast<int64_t>(logits.size() / rows);
  p.temperature = choice.temperature;
  p.top_p = choice.top_p;
  p.seed = choice.seed;
  KVG_CHECK_CUDA(launch(p, nullptr));
  EXPECT_EQ(positions.download(), positions_of(rows));  // nothing moves unless asked to
  return tokens.download();
}

std::vector<int32_t> on_host(const std::vector<float>& logits, size_t rows, const Choice& choice) {
  const size_t vocab = logits.size() / rows;
  const std::vector<int64_t> positions = positions_of(rows);
  std::vector<int32_t> tokens;
  for (size_t row = 0; row < rows; ++row) {
    tokens.push_back(choose_token(std::span(logits).subspan(row * vocab, vocab), choice.temperature,
                                  choice.top_p, choice.seed, positions[row] + 1));
  }
  return tokens;
}

std::vector<float> random_logits(size_t n, double scale, uint64_t seed) {
  std::vector<float> logits;
  for (const double value : random_values(n, DType::f32, seed)) {
    logits.push_back(static_cast<float>(scale * value));
  }
  return logits;
}

using SampleTest = GpuTest;

TEST_F(SampleTest, ChoosesAsTheHostDoes) {
  constexpr size_t kRows = 8;
  const std::vector<Choice> choices = {{0, 1, 1},    {1, 1, 2},      {0.7, 0.9, 3}, {0.7, 0.5, 4},
                                       {2, 0.95, 5}, {0.1, 0.99, 6}, {1, 0, 7},     {5, 0.3, 8}};
  for (const size_t vocab : {size_t{1}, size_t{7}, size_t{513}, size_t{32000}}) {
    for (const double scale : {0.1, 1.0, 5.0, 40.0}) {
      const std::vector<float> logits = random_logits(kRows * vocab, scale, mix_seed({vocab}));
      for (const Choice& choice : choices) {
        EXPECT_EQ(on_device(logits, kRows, choice), on_host(logits, kRows, choice))
            << vocab << " tokens, scale " << scale << ", temperature " << choice.temperature
            << ", top_p " << choice.top_p;
      }
    }
  }
}

// Logits as coarse as bf16 products give: the order among equals is that of ids.
TEST_F(SampleTest, EqualLogitsGoByTheirIds) {
  constexpr size_t kRows = 16, kVocab = 5000;
  std::vector<float> logits = random_logits(kRows * kVocab, 3, 21);
  for (float& logit : logits) logit = std::round(logit) / 2;
  for (const Choice& choice : {Choice{0, 1, 1}, Choice{1, 1, 2}, Choice{1, 0.6, 3}}) {
    EXPECT_EQ(on_device(logits, kRows, choice), on_host(logits, kRows, choice));
  }
  const std::vector<float> flat(kVocab, -3.0f);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(on_device(flat, 1, {1, 0.5, seed}), on_host(flat, 1, {1, 0.5, seed}));
  }
  const std::vector<float> zeros = {-1.0f, -0.0f, 0.0f, -0.0f};
  EXPECT_EQ(on_device(zeros, 1, {}), (std::vector<int32_t>{1}));
}

TEST_F(SampleTest, NanIsNeverChosenAndNothingFiniteGivesNone) {
  for (const double temperature : {0.0, 1.0}) {
    const Choice choice{temperature, 0.9, 3};
    EXPECT_EQ(on_device({kNan, -5, kNan, -kInfinity}, 1, choice), (std::vector<int32_t>{1}));
    EXPECT_EQ(on_device({kNan, kNan}, 1, choice), (std::vector<int32_t>{-1}));
    EXPECT_EQ(on_device({-kInfinity, -kInfinity}, 1, choice), (std::vector<int32_t>{-1}));
    EXPECT_EQ(on_device({1, kInfinity}, 1, choice), (std::vector<int32_t>{-1}));
  }
}

// Every token of a small vocabulary comes up as often as its probability says.
TEST_F(SampleTest, DrawsFollowTheProbabilities) {
  constexpr size_t kRows = 4096;
  const std::vector<float> row = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  std::vector<float> logits;
  for (size_t i = 0; i < kRows; ++i) logits.insert(logits.end(), row.begin(), row.end());
  std::vector<double> counts(4);
  for (const int32_t token : on_device(logits, kRows, {1, 0.9, 5})) {
    ASSERT_GE(token, 0);
    ++counts[static_cast<size_t>(token)];
  }
  // The nucleus of 0.9 holds the first three, which share all of the probability.
  EXPECT_NEAR(counts[0] / kRows, 0.5 / 0.95, 0.03);
  EXPECT_NEAR(counts[1] / kRows, 0.3 / 0.95, 0.03);
  EXPECT_NEAR(counts[2] / kRows, 0.15 / 0.95, 0.03);
  EXPECT_EQ(counts[3], 0);
}

TEST_F(SampleTest, MovesTheStepOn) {
  constexpr int64_t kRows = 3, kVocab = 4, kColumns = 2;
  const std::vector<float> logits = {0, 1, 0, 0, 0, 0, 9, 0, 5, 0, 0, 0};
  const DeviceVector<float> gpu_logits(logits);
  const DeviceVector<int32_t> tokens(kRows);
  const DeviceVector<int64_t> positions(std::vector<int64_t>{10, 20, 30});
  const DeviceVector<int64_t> bank_positions(std::vector<int64_t>{10, 15, 15});
  const DeviceVector<int64_t> first_positions(std::vector<int64_t>{10, 19, 28});
  const DeviceVector<int32_t> history(std::vector<int32_t>(kRows * kColumns, -7));
  SampleLaunch p;
  p.logits = gpu_logits.data();
  p.tokens = tokens.data();
  p.positions = positions.data();
  p.bank_positions = bank_positions.data();
  p.history = history.data();
  p.first_positions = first_positions.data();
  p.rows = kRows;
  p.vocab = kVocab;
  p.columns = kColumns;
  p.bank_limit = 15;
  p.advance = true;
  KVG_CHECK_CUDA(launch(p, nullptr));
  EXPECT_EQ(tokens.download(), (std::vector<int32_t>{1, 2, 0}));
  EXPECT_EQ(positions.download(), (std::vector<int64_t>{11, 21, 31}));
  EXPECT_EQ(bank_positions.download(), (std::vector<int64_t>{11, 15, 15}));
  EXPECT_EQ(history.download(), (std::vector<int32_t>{1, -7, -7, 2, -7, -7}));
}

}  // namespace
}  // namespace kvg::cuda
