#include "base/random.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gpu_test.h"
#include "model/checkpoint.h"
#include "model/decode_batch.h"
#include "model/session.h"

#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace kvg {
namespace {

constexpr std::array<int64_t, 3> kLengths = {5, 40, 149};
constexpr int64_t kSteps = 40;
constexpr int64_t kMaxTokens = 256;

// Two-stream attention, a write gate and rates of averages: every tensor there is, at random.
struct Model {
  std::unique_ptr<Ops> ops = make_cuda_ops();
  Weights weights = Weights::load(*Checkpoint::open("preset:kvg-tiny-coda", 5), *ops);
};

// What decoding a batch leaves behind.
struct Outcome {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<float> logits;  // of the last step
  std::vector<float> after;   // of tokens appended to the first sequence then: what its cache holds

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t n, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab)));
  }
  return tokens;
}

std::vector<float> to_host(Ops& ops, const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  ops.copy(values.data(), tensor.data, tensor.bytes());
  return values;
}

Outcome decode(Model& model, const std::string& method, bool recorded) {
  Ops& ops = *model.ops;
  const ModelConfig& config = model.weights.config;
  const std::unique_ptr<Policy> policy = make_policy(Method::parse(method));
  Forward forward(model.weights, *policy, ops, 256);
  const CacheGeometry geometry = cache_geometry(config);
  std::vector<SequenceState> states(kLengths.size());
  const auto append = [&](size_t s, const std::vector<int32_t>& tokens) {
    const SequenceInput input{&states[s], tokens};
    const Tensor hidden = forward.run({&input, 1});
    return to_host(ops, forward.logits(hidden, std::ssize(tokens) - 1, 1));
  };
  std::vector<SequenceState*> pointers;
  for (size_t s = 0; s < states.size(); ++s) {
    for (int layer = 0; layer < geometry.layers; ++layer) {
      states[s].layers.push_back(policy->make_layer(ops, geometry, layer, kMaxTokens));
    }
    append(s, random_tokens(config, kLengths[s], s));
    pointers.push_back(&states[s]);
  }
  DecodeOptions options;
  options.sampling = {0.9, 0.95, 3};
  options.recorded = recorded;
  const std::vector<int32_t> first = {3, 4, 5};
  DecodeBatch batch(model.weights, *policy, ops, pointers, first, kSteps, options);
  for (int64_t step = 0; step < kSteps; ++step) batch.step();
  Outcome outcome{batch.tokens(), to_host(ops, batch.logits()), {}};
  batch.finish();
  outcome.after = append(0, random_tokens(config, 17, 9));
  return outcome;
}

class DecodeBatchGpuTest : public cuda::GpuTest, public testing::WithParamInterface<std::string> {};

TEST_P(DecodeBatchGpuTest, ReplaysEqualStepsIssuedAnewAndRepeat) {
  Model model;
  const Outcome issued = decode(model, GetParam(), false);
  for (const float logit : issued.logits) ASSERT_TRUE(std::isfinite(logit));
  for (int repeat = 0; repeat < 2; ++repeat) {
    const Outcome replayed = decode(model, GetParam(), true);
    EXPECT_EQ(replayed.tokens, issued.tokens);
    EXPECT_TRUE(replayed.logits == issued.logits);
    EXPECT_TRUE(replayed.after == issued.after);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, DecodeBatchGpuTest,
    testing::Values("full", "full+eden(bits=4)", "full+fp8", "full+int8", "window(window=40)",
                    "sinks(sinks=4,window=36)", "random(window=24,bank=16)",
                    "random(window=24,bank=16,block=3)+bank:eden(bits=3)",
                    "landmark(window=32,exact=16,summary=8)",
                    "landmark(window=20,exact=4,summary=4,block=5)+window:eden(bits=4)+bank:fp8",
                    "landmark(semantics=reference,window=24,exact=8,summary=8)"));

}  // namespace
}  // namespace kvg
