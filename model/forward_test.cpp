// The forward pass against what others compute: Hugging Face's logits on random checkpoints,
// kvg-tiny as transformers runs it, and the published text of stories260K.
#include "model/formats/safetensors.h"
#include "model/presets/random_checkpoint.h"
#include "model/session.h"
#include "model/tokenizer.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace kvg {
namespace {

const std::filesystem::path kSource = KVG_SOURCE_DIR;

struct Model {
  Model(const std::string& source, std::unique_ptr<Ops> set)
      : checkpoint(Checkpoint::open(source)),
        ops(std::move(set)),
        weights(Weights::load(*checkpoint, *ops)) {}
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Ops> ops;
  Weights weights;
};

std::unique_ptr<Ops> make_ops(bool reference) {
  return reference ? make_reference_ops() : make_cpu_ops(2);
}

// max |a - b| / max |b|
template <typename A, typename B>
double relative_error(const A& a, const B& b, size_t n) {
  double largest = 0, difference = 0;
  for (size_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
    difference =
        std::max(difference, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return difference / largest;
}

class HuggingFaceLogits : public ::testing::TestWithParam<std::tuple<std::string, bool>> {};

TEST_P(HuggingFaceLogits, EqualWithinFp32Rounding) {
  const auto& [name, reference] = GetParam();
  const std::filesystem::path folder = kSource / "model/formats/golden" / name;
  const Model model(folder.string(), make_ops(reference));
  const SafetensorsFile expected(folder / "expected.safetensors");
  const Tensor tokens = expected.tensor("tokens");
  const Tensor logits = expected.tensor("logits");
  const int64_t vocab = model.weights.config.vocab;
  // A checkpoint with a sliding window of its own is the `window` method over full-cache weights.
  const int64_t window = model.weights.config.sliding_window;
  const std::string method =
      window > 0 ? "window(window=" + std::to_string(window) + ")+f32" : "full+f32";
  const Session session(model.weights, *model.ops, Method::parse(method), {13, 64});
  const auto sequence = session.start();
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    sequence->append({tokens.as<int32_t>() + i, 1});
    const std::vector<float> mine = sequence->logits();
    EXPECT_LT(relative_error(mine, logits.as<float>() + i * vocab, static_cast<size_t>(vocab)),
              1e-4)
        << "token " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, HuggingFaceLogits,
                         ::testing::Combine(::testing::Values("llama-gqa", "llama-bias-two-files",
                                                              "mistral-tied-bf16",
                                                              "mistral-window"),
                                            ::testing::Bool()));

TEST(HuggingFace, FullCacheOverASlidingWindowModelIsRefused) {
  const Model model((kSource / "model/formats/golden/mistral-window").string(), make_ops(false));
  EXPECT_NO_THROW(Session(model.weights, *model.ops, Method::parse("full"), {8, 16}));
  EXPECT_THROW(Session(model.weights, *model.ops, Method::parse("full"), {8, 17}), Error);
}

// A coda model of which both streams are alike (theta 0) and lambda is 1/2, its output projections
// multiplied by `scale`.
std::vector<float> logits_of_equal_streams(bool add_second_map, double scale) {
  ModelConfig config = preset_config("kvg-tiny-coda");
  config.layers = 2;
  config.hidden = config.ffn = config.vocab = 32;
  config.head_dim = 8;
  config.head_norm = false;  // it would divide the scale out
  config.add_second_map = add_second_map;
  const auto ops = make_reference_ops();
  Weights weights = Weights::load(*open_random(config, 1), *ops);
  for (const LayerWeights& layer : weights.layers) {
    std::fill_n(layer.theta.as<double>(), layer.theta.elements(), 0.0);
    std::fill_n(layer.fused_bias.as<double>() + config.lambda_column(), config.heads, 0.0);
    std::fill_n(layer.fused.row<double>(config.lambda_column()), config.heads * config.hidden, 0.0);
    for (int64_t i = 0; i < layer.output.elements(); ++i) layer.output.as<double>()[i] *= scale;
  }
  const Session session(weights, *ops, Method::parse("full+f32"), {4, 16});
  const auto sequence = session.start();
  const std::vector<int32_t> tokens = {3, 1, 4, 1, 5, 9};
  sequence->append(tokens);
  return sequence->logits();
}

// (1 - 1/2) and (1 + 1/2) of one stream are the same model once the scale takes them out.
TEST(SecondMap, IsSubtractedOrAdded) {
  const std::vector<float> subtracted = logits_of_equal_streams(false, 2.0);
  const std::vector<float> added = logits_of_equal_streams(true, 2.0 / 3.0);
  EXPECT_LT(relative_error(added, subtracted, added.size()), 1e-6);
  EXPECT_GT(relative_error(logits_of_equal_streams(true, 2.0), subtracted, added.size()), 0.01);
}

// golden.json is written by scripts/train/write_golden.py with transformers, in fp32.
TEST(KvgTiny, LogitsLikelihoodAndTextAreThoseOfTransformers) {
  const std::filesystem::path folder = kSource / "model/zoo/kvg-tiny";
  const Model model(folder.string(), make_ops(false));
  const auto tokenizer = Tokenizer::open(model.checkpoint->tokenizer_path());
  const Session session(model.weights, *model.ops, Method::parse("full+f32"), {512, 4096});
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(folder / "golden.json"));
  ASSERT_GE(golden.size(), 4u);
  for (const auto& [name, item] : golden.items()) {
    const auto ids = item["ids"].get<std::vector<int32_t>>();
    std::vector<int32_t> encoded = tokenizer->encode(item["text"].get<std::string>());
    encoded.insert(encoded.begin(), tokenizer->bos());
    EXPECT_EQ(encoded, ids) << name;

    const auto sequence = session.start();
    sequence->append({ids.data(), 1});
    double nll = 0;
    for (const double x : sequence->score(std::span(ids).subspan(1))) nll += x;
    EXPECT_NEAR(nll, item["nll"].get<double>(), 1e-4 * nll) << name;

    const std::vector<float> logits = sequence->logits();
    const auto top_ids = item["top_ids"].get<std::vector<size_t>>();
    const auto top_logits = item["top_logits"].get<std::vector<double>>();
    std::vector<double> mine;
    for (const size_t id : top_ids) mine.push_back(logits[id]);
    EXPECT_LT(relative_error(mine, top_logits, mine.size()), 1e-4) << name;

    const auto expected = item["continuation_ids"].get<std::vector<int32_t>>();
    GenerateOptions options;
    options.max_tokens = std::ssize(expected);
    options.stop_at_eos = false;
    EXPECT_EQ(sequence->generate(options), expected) << name;
  }
}

// A trained model of other people, with interleaved RoPE pairs and head_dim 8.
TEST(Stories260K, PublishedTextAndLikelihood) {
  const char* data = std::getenv("KVG_DATA");
  if (data == nullptr) GTEST_SKIP() << "KVG_DATA is not set";
  const std::filesystem::path folder = std::filesystem::path(data) / "models/stories260K";
  for (const char* file : {"checkpoint_legacy.bin", "checkpoint_v1.bin"}) {
    const Model model((folder / file).string(), make_ops(false));
    const auto tokenizer = Tokenizer::open(folder / "tokenizer.bin");
    const Session session(model.weights, *model.ops, Method::parse("full+f32"), {512, 512});
    std::vector<int32_t> prompt = tokenizer->encode("Once upon a time, there was a little girl");
    const auto sequence = session.start();
    const int32_t bos = 1;
    sequence->append({&bos, 1});
    double nll = 0;
    for (const double x : sequence->score(prompt)) nll += x;
    EXPECT_NEAR(nll / static_cast<double>(prompt.size()), 0.111, 0.0005);
    GenerateOptions options;
    options.max_tokens = 60;
    const std::string text = tokenizer->decode(sequence->generate(options));
    EXPECT_EQ(
        text.substr(0, 84),
        "named Lily. She loved to play outside in the park. One day, she saw a big, red ball.")
        << text;
  }
}

}  // namespace
}  // namespace kvg
