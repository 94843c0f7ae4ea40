// Adapters as the package coda-gqa-l saves them, read beside a Mistral folder, against the logits
// that the package itself gives (scripts/golden/coda_adapters.py).
#include "model/formats/coda_adapters.h"
#include "model/formats/safetensors.h"
#include "model/session.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

namespace kvg {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(KVG_SOURCE_DIR) / "model/formats/golden/mistral-coda";

constexpr const char* kBounded =
    "landmark(semantics=reference,window=8,exact=4,summary=4,block=8,exact_candidates=3,"
    "mem_init=zeros,arithmetic=f32)+f32";
constexpr int64_t kPrefill = 29;

// Tokens of each call, as the package was called.
std::vector<int64_t> one_call() { return {48}; }
std::vector<int64_t> decode_calls() {
  std::vector<int64_t> calls(20, 1);
  calls[0] = kPrefill;
  return calls;
}

// The largest difference from the golden logits after each call, relative to the largest of them.
double error_against(const std::string& golden, const std::string& phase,
                     const CodaAdapterSettings& settings, const std::string& method,
                     const std::vector<int64_t>& calls, bool reference) {
  const CodaAdapters adapters =
      open_coda_adapters(Checkpoint::open(kFolder.string()), kFolder / phase, settings);
  const auto ops = reference ? make_reference_ops() : make_cpu_ops(1);
  const Weights weights = Weights::load(*adapters.checkpoint, *ops);
  const SafetensorsFile file(kFolder / "expected.safetensors");
  const Tensor tokens = file.tensor("tokens");
  const Tensor logits = file.tensor(golden);
  const Session session(weights, *ops, Method::parse(method), {64, 64});
  const auto sequence = session.start();
  double largest = 0;
  double difference = 0;
  int64_t done = 0;
  for (const int64_t n : calls) {
    sequence->append({tokens.as<int32_t>() + done, static_cast<size_t>(n)});
    done += n;
    const std::vector<float> mine = sequence->logits();
    const float* row = logits.row<float>(done - 1);
    for (size_t i = 0; i < mine.size(); ++i) {
      largest = std::max(largest, std::fabs(static_cast<double>(row[i])));
      difference = std::max(difference,
                            std::fabs(static_cast<double>(mine[i]) - static_cast<double>(row[i])));
    }
  }
  EXPECT_EQ(done, tokens.elements());
  return difference / largest;
}

class CodaAdaptersLogits : public ::testing::TestWithParam<bool> {};

// Phase 1 ran with the base's RoPE, which the file does not say: the default.
TEST_P(CodaAdaptersLogits, UnboundedAreThePackages) {
  EXPECT_LT(
      error_against("unbounded", "phase1", {}, "full+f32", std::vector<int64_t>(48, 1), GetParam()),
      1e-4);
}

TEST_P(CodaAdaptersLogits, BoundedPrefillIsThePackages) {
  EXPECT_LT(error_against("bounded_prefill", "phase2", {1e4}, kBounded, one_call(), GetParam()),
            1e-4);
}

TEST_P(CodaAdaptersLogits, BoundedDecodeIsThePackages) {
  EXPECT_LT(error_against("bounded_decode", "phase2", {1e4}, kBounded, decode_calls(), GetParam()),
            1e-4);
}

// The package's loader leaves the gates that a file lacks as they were made, and so does this one.
TEST_P(CodaAdaptersLogits, MissingGatesAreThePackages) {
  EXPECT_LT(error_against("gateless_decode", "phase1", {1e4}, kBounded, decode_calls(), GetParam()),
            1e-4);
}

INSTANTIATE_TEST_SUITE_P(Golden, CodaAdaptersLogits, ::testing::Bool());

// Each hidden setting matters, so the golden logits can tell which one was assumed.
TEST(CodaAdaptersLogits, EverySettingChangesThem) {
  const auto error = [](const CodaAdapterSettings& settings) {
    return error_against("gateless_decode", "phase1", settings, kBounded, decode_calls(), true);
  };
  EXPECT_GT(error({}), 1e-3);
  EXPECT_GT(error({1e4, true}), 1e-3);
  EXPECT_GT(error({1e4, false, MissingGates::one}), 1e-3);
}

}  // namespace
}  // namespace kvg
