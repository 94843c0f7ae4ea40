#include "model/formats/hf_folder.h"

#include "model/formats/safetensors.h"
#include "model/formats/test_files.h"

#include <array>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::HasSubstr;

// A one-layer folder that holds just the named tensors, one element each: enough to open, not to
// load.
std::string open_error(const TempFolder& folder, const std::string& kvgauge, int layers,
                       const std::vector<std::string>& names) {
  write_file(folder / "config.json",
             R"({"architectures":["LlamaForCausalLM"],"hidden_size":8,"num_attention_heads":2,)"
             R"("intermediate_size":8,"vocab_size":8,"num_hidden_layers":)" +
                 std::to_string(layers) + R"(,"kvgauge":)" + kvgauge + "}");
  std::array<float, 1> value = {1};
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& name : names) {
    tensors.emplace_back(name, Tensor(value.data(), DType::f32, Device::cpu, {1}));
  }
  write_safetensors(folder / "model.safetensors", tensors);
  try {
    open_hf_folder(folder.path());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(HfFolder, OpensWhatTransformersSaves) {
  for (const char* name :
       {"llama-gqa", "llama-bias-two-files", "mistral-tied-bf16", "mistral-window"}) {
    const auto checkpoint = Checkpoint::open((golden_folder() / name).string());
    EXPECT_EQ(checkpoint->config().name, name);
    EXPECT_EQ(checkpoint->hash().size(), 64u);
    EXPECT_TRUE(checkpoint->tokenizer_path().empty());
    for (const TensorSpec& spec : model_tensors(checkpoint->config())) {
      const Tensor tensor = checkpoint->tensor(spec.name);
      ASSERT_EQ(static_cast<size_t>(tensor.rank), spec.shape.size()) << spec.name;
      for (size_t i = 0; i < spec.shape.size(); ++i) {
        EXPECT_EQ(tensor.shape[i], spec.shape[i]) << spec.name;
      }
    }
  }
  const auto bias = Checkpoint::open((golden_folder() / "llama-bias-two-files").string());
  EXPECT_TRUE(bias->config().attention_bias);
  const auto gqa = Checkpoint::open((golden_folder() / "llama-gqa/").string());
  EXPECT_EQ(gqa->config().name, "llama-gqa");
  EXPECT_EQ(gqa->config().head_dim, 12);
  EXPECT_EQ(gqa->config().rope.base, 1e6);
  EXPECT_NE(gqa->hash(), bias->hash());
}

TEST(HfFolder, SaysWhatIsMissing) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { Checkpoint::open(folder.path().string()); }),
              HasSubstr("config.json: found no such file"));
  std::filesystem::copy_file(golden_folder() / "llama-gqa/config.json", folder / "config.json");
  EXPECT_THAT(error_of([&] { Checkpoint::open(folder.path().string()); }),
              HasSubstr("no safetensors file"));
  EXPECT_THAT(error_of([] { Checkpoint::open("no-such-model"); }), HasSubstr("no-such-model"));
  EXPECT_THAT(error_of([] { Checkpoint::open("mistral-7c"); }), HasSubstr("mean 'mistral-7b'"));
  EXPECT_THAT(error_of([&] { Checkpoint::open((folder / "config.json").string()); }),
              HasSubstr("a file of another kind"));
}

TEST(HfFolder, ConfigAndTensorsMustAgreeOnTheAttention) {
  const TempFolder folder;
  const std::string theta = layer_tensor(0, "self_attn.theta");
  const std::string norm = layer_tensor(0, "self_attn.head_norm.weight");
  EXPECT_EQ(open_error(folder, "{}", 1, {}), "");
  EXPECT_EQ(open_error(folder, R"({"attention":"coda"})", 1, {theta}), "");
  EXPECT_EQ(open_error(folder, R"({"attention":"coda","head_norm":true})", 1, {theta, norm}), "");
  EXPECT_THAT(open_error(folder, "{}", 1, {theta}),
              HasSubstr("kvgauge.attention: found gqa beside tensor " + theta));
  EXPECT_THAT(open_error(folder, R"({"attention":"coda"})", 1, {}),
              HasSubstr("kvgauge.attention: found coda without tensor " + theta));
  EXPECT_THAT(open_error(folder, R"({"attention":"coda"})", 1, {theta, norm}),
              HasSubstr("kvgauge.head_norm: found false beside"));
  EXPECT_THAT(open_error(folder, R"({"attention":"coda"})", 2, {theta}),
              HasSubstr("tensor model.layers.1.self_attn.theta: found no such tensor"));
}

TEST(HfFolder, OptionalPartsAreWhatTheTensorsSay) {
  const TempFolder folder;
  open_error(folder, R"({"attention":"coda"})", 1,
             {layer_tensor(0, "self_attn.theta"), layer_tensor(0, "self_attn.q_proj.bias"),
              layer_tensor(0, "self_attn.write_proj.weight"),
              layer_tensor(0, "self_attn.summary_eta_logit")});
  const ModelConfig config = open_hf_folder(folder.path())->config();
  EXPECT_TRUE(config.write_gate);
  EXPECT_TRUE(config.summary_eta);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_FALSE(config.head_norm);
  open_error(folder, "{}", 1, {layer_tensor(0, "self_attn.write_proj.weight")});
  EXPECT_TRUE(open_hf_folder(folder.path())->config().write_gate);  // of one stream
}

TEST(Zoo, ModelsAreFoundByNameBeforePresets) {
  const TempFolder zoo;
  std::filesystem::copy(golden_folder() / "llama-gqa", zoo / "kvg-tiny");
  ::setenv("KVG_ZOO", zoo.path().c_str(), 1);
  EXPECT_THAT(zoo_names(), ::testing::Contains("kvg-tiny"));
  EXPECT_EQ(Checkpoint::open("kvg-tiny")->config().vocab, 64);
  EXPECT_EQ(Checkpoint::open("preset:kvg-tiny")->config().vocab, 4096);
  ::unsetenv("KVG_ZOO");
}

}  // namespace
}  // namespace kvg
