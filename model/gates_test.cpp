#include "model/gates.h"

#include "base/random.h"
#include "model/checkpoint.h"
#include "model/presets/random_checkpoint.h"
#include "model/session.h"

#include <gtest/gtest.h>

namespace kvg {
namespace {

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t n) {
  Random random(20);
  std::vector<int32_t> tokens = {config.bos};
  while (std::ssize(tokens) < n) {
    tokens.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab))));
  }
  return tokens;
}

void expect_all_pass(const Checkpoint& checkpoint, std::unique_ptr<Ops> ops, double tolerance,
                     std::vector<std::string> methods, int64_t n) {
  const Weights weights = Weights::load(checkpoint, *ops);
  int results = 0;
  run_gates(weights, *ops, random_tokens(weights.config, n), {std::move(methods), tolerance},
            [&](const GateResult& result) {
              ++results;
              EXPECT_TRUE(result.passed) << weights.config.name << " " << result.gate << " "
                                         << result.method << ": " << result.value;
            });
  EXPECT_GT(results, 6);
}

void expect_all_pass(const std::string& preset, std::unique_ptr<Ops> ops, double tolerance,
                     std::vector<std::string> methods, int64_t n) {
  expect_all_pass(*Checkpoint::open(preset, 3), std::move(ops), tolerance, std::move(methods), n);
}

// A small checkpoint, so that the sanitizers see every path too.
TEST(Gates, EveryMethodOnASmallModel) {
  const std::string folder = KVG_SOURCE_DIR "/model/formats/golden/mistral-tied-bf16";
  expect_all_pass(folder, make_cpu_ops(2), 1e-4, gate_methods(), 100);
  expect_all_pass(folder, make_reference_ops(), 1e-10, gate_methods(), 100);
}

TEST(SlowGates, EveryMethodOnTheCpu) {
  expect_all_pass("preset:kvg-tiny", make_cpu_ops(2), 1e-4, gate_methods(), 160);
}

// Two streams, write gates and learned rates: the `coda` attention.
TEST(SlowGates, EveryMethodWithTwoStreams) {
  expect_all_pass("preset:kvg-tiny-coda", make_cpu_ops(2), 1e-4, gate_methods(), 160);
}

// Gates and rates belong to the banks, which one stream has as well.
TEST(SlowGates, WriteGatesAndRatesOfOneStream) {
  ModelConfig config = preset_config("kvg-tiny");
  config.layers = 2;
  config.write_gate = config.summary_eta = true;
  expect_all_pass(*open_random(config, 3), make_cpu_ops(2), 1e-4,
                  {"landmark(window=32,exact=16,summary=8)+f32"}, 160);
}

TEST(SlowGates, ExactInDoublePrecision) {
  expect_all_pass("preset:kvg-tiny-coda", make_reference_ops(), 1e-10,
                  {"sinks(sinks=4,window=20)+f32", "landmark(window=24,exact=8,summary=4)+f32"},
                  70);
}

// A gate that cannot fail proves nothing: published landmark semantics decode by other rules than
// they prefill with, and the gate must notice.
TEST(SlowGates, NoticeTheReferenceSemantics) {
  const auto checkpoint = Checkpoint::open("preset:kvg-tiny-coda", 3);
  const auto ops = make_cpu_ops(2);
  const Weights weights = Weights::load(*checkpoint, *ops);
  bool chunks_failed = false;
  run_gates(weights, *ops, random_tokens(weights.config, 160),
            {{"landmark(window=32,exact=16,summary=8,semantics=reference)+f32"}, 1e-4},
            [&](const GateResult& result) {
              if (result.gate == "chunks") chunks_failed = !result.passed;
              if (result.gate == "bytes" || result.gate == "repeat" || result.gate == "decode") {
                EXPECT_TRUE(result.passed);
              }
            });
  EXPECT_TRUE(chunks_failed);
}

TEST(Session, RefusesWhatCannotWork) {
  const auto checkpoint = Checkpoint::open("preset:kvg-tiny", 3);
  const auto ops = make_cpu_ops(2);
  const Weights weights = Weights::load(*checkpoint, *ops);
  const auto open = [&](SessionOptions options) {
    return Session(weights, *ops, Method::parse("full"), options);
  };
  EXPECT_THROW(open({0, 100}), Error);
  EXPECT_THROW(open({8, 0}), Error);
  EXPECT_THROW(open({8, int64_t{1} << 40}), Error);  // more than the memory there is
  const Session session = open({8, 20});
  const auto sequence = session.start();
  EXPECT_THROW(sequence->append(std::vector<int32_t>(21, 5)), Error);
}

}  // namespace
}  // namespace kvg
