#include "model/weights.h"

#include "kernels/convert.h"
#include "model/formats/test_files.h"

#include <cmath>
#include <limits>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::HasSubstr;

// Random tensors of a small geometry that a test may then damage.
class FakeCheckpoint final : public Checkpoint {
 public:
  explicit FakeCheckpoint(const ModelConfig& config) : config_(config) {
    double value = 0;
    for (const TensorSpec& spec : model_tensors(config)) {
      Entry& entry = entries_[spec.name];
      entry.shape = spec.shape;
      int64_t elements = 1;
      for (const int64_t extent : spec.shape) elements *= extent;
      for (int64_t i = 0; i < elements; ++i) entry.values.push_back(std::sin(++value));
    }
  }

  const ModelConfig& config() const override { return config_; }
  bool has(const std::string& name) const override { return entries_.contains(name); }
  std::string where(const std::string&) const override { return "fake.safetensors"; }
  void release(const std::string& name) const override { released_.push_back(name); }
  std::filesystem::path tokenizer_path() const override { return {}; }
  std::string hash() const override { return ""; }
  Tensor tensor(const std::string& name) const override {
    if (!has(name)) throw Error(where(name), "tensor " + name, "no such tensor", "it");
    const Entry& entry = entries_.at(name);
    Tensor view(const_cast<double*>(entry.values.data()), DType::f64, Device::cpu, {});
    for (const int64_t extent : entry.shape) view.shape[static_cast<size_t>(view.rank++)] = extent;
    return view;
  }

  std::vector<double>& values(const std::string& name) { return entries_.at(name).values; }
  std::vector<int64_t>& shape(const std::string& name) { return entries_.at(name).shape; }
  void remove(const std::string& name) { entries_.erase(name); }
  const std::vector<std::string>& released() const { return released_; }

 private:
  struct Entry {
    std::vector<int64_t> shape;
    std::vector<double> values;
  };
  ModelConfig config_;
  std::map<std::string, Entry> entries_;
  mutable std::vector<std::string> released_;
};

ModelConfig small() {
  ModelConfig config;
  config.name = "small";
  config.architecture = "LlamaForCausalLM";
  config.hidden = 6;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 4;
  config.ffn = 5;
  config.vocab = 7;
  config.validate("small");
  return config;
}

ModelConfig small_coda() {
  ModelConfig config = small();
  config.coda = config.write_gate = config.summary_eta = config.head_norm = true;
  config.attention_bias = config.tied_head = true;
  config.validate("small");
  return config;
}

// The elements of a weight in double.
std::vector<double> elements(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  convert(tensor, Tensor(values.data(), DType::f64, Device::cpu, {tensor.elements()}));
  return values;
}

std::vector<double> stacked(FakeCheckpoint* checkpoint, std::initializer_list<const char*> parts) {
  std::vector<double> all;
  for (const char* part : parts) {
    const std::vector<double>& values = checkpoint->values(layer_tensor(1, part));
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST(Weights, AreStackedForTheOperations) {
  FakeCheckpoint checkpoint(small());
  const auto ops = make_reference_ops();
  const Weights weights = Weights::load(checkpoint, *ops);
  ASSERT_EQ(weights.layers.size(), 2u);
  const LayerWeights& layer = weights.layers[1];
  EXPECT_EQ(elements(layer.fused),
            stacked(&checkpoint, {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                  "self_attn.v_proj.weight"}));
  EXPECT_EQ(elements(layer.gate_up),
            stacked(&checkpoint, {"mlp.gate_proj.weight", "mlp.up_proj.weight"}));
  EXPECT_EQ(elements(layer.down), stacked(&checkpoint, {"mlp.down_proj.weight"}));
  EXPECT_EQ(elements(layer.output), stacked(&checkpoint, {"self_attn.o_proj.weight"}));
  EXPECT_EQ(elements(layer.attention_norm), stacked(&checkpoint, {"input_layernorm.weight"}));
  EXPECT_EQ(elements(layer.ffn_norm), stacked(&checkpoint, {"post_attention_layernorm.weight"}));
  EXPECT_EQ(elements(weights.head), checkpoint.values("lm_head.weight"));
  EXPECT_EQ(elements(weights.embedding), checkpoint.values("model.embed_tokens.weight"));
  EXPECT_EQ(elements(weights.final_norm), checkpoint.values("model.norm.weight"));
  EXPECT_FALSE(layer.fused_bias);
  EXPECT_FALSE(layer.output_bias);
  EXPECT_FALSE(layer.theta);
  EXPECT_FALSE(layer.summary_eta);
  EXPECT_FALSE(layer.head_norm);
  EXPECT_EQ(checkpoint.released().size(), model_tensors(small()).size());
}

TEST(Weights, OfCodaHaveLambdaAndGateBehindTheValues) {
  FakeCheckpoint checkpoint(small_coda());
  const auto ops = make_reference_ops();
  const Weights weights = Weights::load(checkpoint, *ops);
  const LayerWeights& layer = weights.layers[1];
  EXPECT_EQ(layer.fused.size(0), weights.config.fused_width());
  EXPECT_EQ(elements(layer.fused),
            stacked(&checkpoint, {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                  "self_attn.v_proj.weight", "self_attn.lambda_proj.weight",
                                  "self_attn.write_proj.weight"}));
  EXPECT_EQ(elements(layer.fused_bias),
            stacked(&checkpoint,
                    {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias",
                     "self_attn.lambda_proj.bias", "self_attn.write_proj.bias"}));
  EXPECT_EQ(elements(layer.output_bias), stacked(&checkpoint, {"self_attn.o_proj.bias"}));
  EXPECT_EQ(elements(layer.theta), stacked(&checkpoint, {"self_attn.theta"}));
  EXPECT_EQ(elements(layer.head_norm), stacked(&checkpoint, {"self_attn.head_norm.weight"}));
  const std::vector<double> logits = stacked(&checkpoint, {"self_attn.summary_eta_logit"});
  for (size_t head = 0; head < logits.size(); ++head) {
    EXPECT_DOUBLE_EQ(layer.summary_eta.as<double>()[head], 1 / (1 + std::exp(-logits[head])));
  }
  EXPECT_EQ(weights.head.data, weights.embedding.data);
}

TEST(Weights, WithoutQkvBiasesHaveZerosThere) {
  ModelConfig config = small_coda();
  config.attention_bias = false;
  FakeCheckpoint checkpoint(config);
  const auto ops = make_reference_ops();
  const LayerWeights layer = Weights::load(checkpoint, *ops).layers[1];
  std::vector<double> expected(static_cast<size_t>(config.q_width() + 2 * config.kv_width()), 0.0);
  const std::vector<double> rest =
      stacked(&checkpoint, {"self_attn.lambda_proj.bias", "self_attn.write_proj.bias"});
  expected.insert(expected.end(), rest.begin(), rest.end());
  const Weights weights = Weights::load(checkpoint, *ops);
  EXPECT_EQ(elements(weights.layers[1].fused_bias), expected);
  EXPECT_FALSE(layer.output_bias);
}

TEST(Weights, AreConvertedToTheSetsType) {
  const auto checkpoint = Checkpoint::open((golden_folder() / "mistral-tied-bf16").string());
  const auto reference = make_reference_ops();
  const auto cpu = make_cpu_ops(1);
  const Weights exact = Weights::load(*checkpoint, *reference);
  const Weights fast = Weights::load(*checkpoint, *cpu);
  EXPECT_EQ(exact.layers[2].down.dtype, DType::f64);
  EXPECT_EQ(fast.layers[2].down.dtype, DType::f32);
  EXPECT_EQ(elements(exact.layers[2].down), elements(fast.layers[2].down));  // bf16 fits in both
}

TEST(Weights, RefuseMissingTensorsAndWrongShapes) {
  const auto ops = make_reference_ops();
  const std::string name = layer_tensor(1, "self_attn.k_proj.weight");
  FakeCheckpoint missing(small());
  missing.remove(name);
  EXPECT_THAT(error_of([&] { Weights::load(missing, *ops); }),
              HasSubstr("fake.safetensors: tensor " + name + ": found no such tensor"));
  FakeCheckpoint wrong(small());
  wrong.shape(name) = {6, 8};
  EXPECT_THAT(error_of([&] { Weights::load(wrong, *ops); }),
              HasSubstr("tensor " + name + ": found [6, 8] f64, expected [8, 6] f64"));
  wrong.shape(name) = {48};
  EXPECT_THAT(error_of([&] { Weights::load(wrong, *ops); }), HasSubstr("found [48] f64"));
}

TEST(Weights, RefuseWhatIsNotFinite) {
  const auto ops = make_cpu_ops(1);
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    for (const TensorSpec& spec : model_tensors(small_coda())) {
      FakeCheckpoint checkpoint(small_coda());
      checkpoint.values(spec.name).back() = bad;
      const std::string message = error_of([&] { Weights::load(checkpoint, *ops); });
      EXPECT_THAT(message, HasSubstr("fake.safetensors: tensor " + spec.name + ": found element"));
      EXPECT_THAT(message, HasSubstr("expected finite numbers"));
    }
  }
}

// The check looks at bits, so every stored type needs its own proof.
TEST(Weights, RefuseWhatIsNotFiniteInEveryStoredType) {
  const auto ops = make_cpu_ops(1);
  for (const auto& [folder, size, bits] :
       {std::tuple{"mistral-window", size_t{2}, std::string("\x80\x7f", 2)},        // bf16 infinity
        std::tuple{"llama-bias-two-files", size_t{2}, std::string("\x01\xfc", 2)},  // f16 NaN
        std::tuple{"llama-gqa", size_t{4}, std::string("\0\0\xc0\x7f", 4)}}) {      // f32 NaN
    const TempFolder copy;
    std::filesystem::copy(golden_folder() / folder, copy / folder);
    for (const auto& file : std::filesystem::directory_iterator(copy / folder)) {
      if (file.path().extension() != ".safetensors") continue;
      std::string bytes = read_file(file.path());
      bytes.replace(bytes.size() - size, size, bits);
      std::filesystem::permissions(file.path(), std::filesystem::perms::owner_write,
                                   std::filesystem::perm_options::add);
      write_file(file.path(), bytes);
    }
    const auto checkpoint = Checkpoint::open((copy / folder).string());
    EXPECT_THAT(error_of([&] { Weights::load(*checkpoint, *ops); }),
                HasSubstr("expected finite numbers"))
        << folder;
  }
}

TEST(Weights, RefuseAModelThatMemoryCannotHold) {
  ModelConfig huge = preset_config("llama-3-70b");
  huge.layers = 10'000;  // 34 TB as f32
  class NoTensors final : public Checkpoint {
   public:
    explicit NoTensors(const ModelConfig& config) : config_(config) {}
    const ModelConfig& config() const override { return config_; }
    bool has(const std::string&) const override { return false; }
    Tensor tensor(const std::string& name) const override { throw Error("asked for " + name); }
    void release(const std::string&) const override {}
    std::string where(const std::string&) const override { return ""; }
    std::filesystem::path tokenizer_path() const override { return {}; }
    std::string hash() const override { return ""; }

   private:
    ModelConfig config_;
  };
  const auto ops = make_cpu_ops(1);
  EXPECT_THAT(error_of([&] { Weights::load(NoTensors(huge), *ops); }),
              HasSubstr("weights of llama-3-70b"));
}

}  // namespace
}  // namespace kvg
