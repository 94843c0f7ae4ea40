// The whole model on a GPU: every gate, and agreement with the host.
#include "base/random.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gpu_test.h"
#include "model/agreement.h"
#include "model/checkpoint.h"
#include "model/gates.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr const char* kTrained = KVG_SOURCE_DIR "/model/zoo/kvg-tiny";
constexpr const char* kTwoStreams = "preset:kvg-tiny-coda";

struct Model {
  Model(const std::string& source, std::unique_ptr<Ops> set)
      : ops(std::move(set)), weights(Weights::load(*Checkpoint::open(source, 3), *ops)) {}
  std::unique_ptr<Ops> ops;
  Weights weights;
};

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t n, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens = {config.bos};
  while (std::ssize(tokens) < n) {
    tokens.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab))));
  }
  return tokens;
}

class ModelOnGpu : public cuda::GpuTest, public testing::WithParamInterface<const char*> {};

TEST_P(ModelOnGpu, PassesEveryGate) {
  const Model model(GetParam(), make_cuda_ops());
  const GateOptions options{gate_methods(), gate_tolerance(DType::bf16)};
  run_gates(model.weights, *model.ops, random_tokens(model.weights.config, 192, 1), options,
            [](const GateResult& result) {
              EXPECT_TRUE(result.passed)
                  << result.gate << " " << result.method << ": " << result.value;
            });
}

// Published semantics decode by other rules than they prefill with; by steps and one by one it must
// be the same all the same.
TEST_P(ModelOnGpu, DecodesPublishedSemanticsByItsRules) {
  const Model model(GetParam(), make_cuda_ops());
  const GateOptions options{{"landmark(semantics=reference,window=32,exact=16,summary=8)"},
                            gate_tolerance(DType::bf16)};
  run_gates(model.weights, *model.ops, random_tokens(model.weights.config, 192, 1), options,
            [](const GateResult& result) {
              if (result.gate == "decode" || result.gate == "recorded") {
                EXPECT_TRUE(result.passed) << result.gate << ": " << result.value;
              }
            });
}

// Codecs are left to `selftest --against`, which knows what rounding does to them.
TEST_P(ModelOnGpu, AgreesWithTheHost) {
  const Model host(GetParam(), make_cpu_ops());
  const Model gpu(GetParam(), make_cuda_ops());
  std::vector<std::vector<int32_t>> prompts;
  for (const int64_t n : {1, 33, 127, 129, 150}) {
    prompts.push_back(random_tokens(host.weights.config, n, static_cast<uint64_t>(n)));
  }
  for (const std::string method :
       {"full+bf16", "window(window=40)+bf16", "sinks(sinks=4,window=36)+bf16"}) {
    const ModelOnOps actual{&gpu.weights, gpu.ops.get()};
    const Agreement agreement =
        compare_distributions({&host.weights, host.ops.get()}, {&actual, 1}, method, prompts)[0];
    EXPECT_LT(agreement.mean_kl, 1e-2) << method;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelOnGpu, testing::Values(kTrained, kTwoStreams));

}  // namespace
}  // namespace kvg
