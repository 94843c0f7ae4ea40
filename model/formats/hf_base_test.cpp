#include "model/formats/hf_folder.h"
#include "model/formats/safetensors.h"
#include "model/formats/test_files.h"
#include "model/weights.h"

#include <deque>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace kvg {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

const std::string kQuery = layer_tensor(0, "self_attn.q_proj.weight");
const std::string kTheta = layer_tensor(0, "self_attn.theta");

// A model with all of its tensors, and beside it the folder of an arm trained over it.
class Arm {
 public:
  Arm() {
    std::filesystem::copy(golden_folder() / "llama-gqa", folder_ / "base");
    std::filesystem::create_directory(folder_ / "arm");
    config_ = Json::parse(read_file(folder_ / "base/config.json"));
    config_["kvgauge"] = {{"base", "../base"}, {"attention", "coda"}};
  }

  std::filesystem::path path(const std::string& file = "arm") const { return folder_ / file; }
  // The arm's config.json before it is written.
  Json& config() { return config_; }

  void add(const std::string& name, std::initializer_list<int64_t> shape, float value) {
    Tensor view(nullptr, DType::f32, Device::cpu, shape);
    view.data = memory_.emplace_back(static_cast<size_t>(view.elements()), value).data();
    tensors_.emplace_back(name, view);
  }
  void add_coda_layers() {
    for (int64_t layer = 0; layer < 2; ++layer) {
      add(layer_tensor(layer, "self_attn.q_proj.weight"), {48, 32}, 0.25f);
      add(layer_tensor(layer, "self_attn.theta"), {4, 6}, 0.5f);
      add(layer_tensor(layer, "self_attn.lambda_proj.weight"), {4, 32}, 0);
      add(layer_tensor(layer, "self_attn.lambda_proj.bias"), {4}, -6);
    }
  }
  std::unique_ptr<Checkpoint> open() const {
    write_file(folder_ / "arm/config.json", config_.dump());
    write_safetensors(folder_ / "arm/model.safetensors", tensors_);
    return open_hf_folder(folder_ / "arm");
  }
  std::string open_error() const {
    return error_of([&] { open(); });
  }

 private:
  TempFolder folder_;
  Json config_;
  std::deque<std::vector<float>> memory_;
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

TEST(HfBase, GivesWhatTheFolderLacks) {
  Arm arm;
  arm.add_coda_layers();
  const auto checkpoint = arm.open();
  const auto base = open_hf_folder(arm.path("base"));
  EXPECT_TRUE(checkpoint->config().coda);
  EXPECT_EQ(checkpoint->config().name, "arm");
  EXPECT_EQ(checkpoint->tensor(kQuery).as<float>()[7], 0.25f);
  EXPECT_EQ(checkpoint->where(kQuery), arm.path("arm/model.safetensors"));
  EXPECT_NE(base->tensor(kQuery).as<float>()[7], 0.25f);
  const std::string key = layer_tensor(1, "self_attn.k_proj.weight");
  EXPECT_TRUE(checkpoint->has(key));
  EXPECT_EQ(checkpoint->tensor(key).as<float>()[7], base->tensor(key).as<float>()[7]);
  EXPECT_TRUE(std::filesystem::equivalent(checkpoint->where(key), base->where(key)));
  for (const std::string& name : {kQuery, key, std::string("none")}) checkpoint->release(name);

  const auto ops = make_reference_ops();
  const Weights weights = Weights::load(*checkpoint, *ops);
  EXPECT_EQ(weights.layers[1].theta.as<double>()[23], 0.5);
  EXPECT_EQ(weights.layers[1].fused.row<double>(47)[31], 0.25);
  EXPECT_EQ(weights.layers[1].fused.row<double>(48)[0], base->tensor(key).as<float>()[0]);
}

// Without one tensor of its own an arm is its base.
TEST(HfBase, AloneGivesTheWholeModel) {
  Arm arm;
  arm.config()["kvgauge"]["attention"] = "gqa";
  const auto checkpoint = arm.open();
  for (const TensorSpec& spec : model_tensors(checkpoint->config())) {
    EXPECT_TRUE(checkpoint->has(spec.name));
  }
  EXPECT_FALSE(checkpoint->has(kTheta));
}

TEST(HfBase, GivesItsTokenizer) {
  Arm arm;
  arm.add_coda_layers();
  EXPECT_TRUE(arm.open()->tokenizer_path().empty());
  write_file(arm.path("base/tokenizer.model"), "");
  EXPECT_TRUE(
      std::filesystem::equivalent(arm.open()->tokenizer_path(), arm.path("base/tokenizer.model")));
  write_file(arm.path("arm/tokenizer.model"), "");
  EXPECT_EQ(arm.open()->tokenizer_path(), arm.path("arm/tokenizer.model"));
}

TEST(HfBase, IsPartOfTheIdentity) {
  Arm arm;
  arm.add_coda_layers();
  const std::string hash = arm.open()->hash();
  EXPECT_EQ(hash, arm.open()->hash());
  EXPECT_NE(hash, open_hf_folder(arm.path("base"))->hash());
  arm.config()["pad_token_id"] = 0;
  EXPECT_NE(arm.open()->hash(), hash);
  arm.config()["pad_token_id"] = nullptr;
  EXPECT_EQ(arm.open()->hash(), hash);

  const std::string tensors = read_file(arm.path("base/model.safetensors"));
  std::string damaged = tensors;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  write_file(arm.path("base/model.safetensors"), damaged);
  EXPECT_NE(arm.open()->hash(), hash);
  write_file(arm.path("base/model.safetensors"), tensors);
  EXPECT_EQ(arm.open()->hash(), hash);
  write_file(arm.path("base/config.json"), read_file(arm.path("base/config.json")) + " ");
  EXPECT_NE(arm.open()->hash(), hash);
}

TEST(HfBase, IsCheckedAgainstItsHash) {
  Arm arm;
  arm.add_coda_layers();
  Json& hash = arm.config()["kvgauge"]["base_hash"];
  hash = std::string(64, '0');
  const std::string error = arm.open_error();
  const std::string key = "base/model.safetensors: SHA-256: found ";
  ASSERT_THAT(error, HasSubstr(key));
  EXPECT_THAT(error, HasSubstr("expected " + std::string(64, '0') + ", kvgauge.base_hash of"));
  hash = error.substr(error.find(key) + key.size(), 64);
  EXPECT_NO_THROW(arm.open());
  std::filesystem::remove(arm.path("base/model.safetensors"));
  EXPECT_THAT(arm.open_error(), HasSubstr("base/model.safetensors: found No such file"));
}

TEST(HfBase, IsFoundInTheZooByName) {
  Arm arm;
  arm.add_coda_layers();
  ::setenv("KVG_ZOO", arm.path("").c_str(), 1);
  arm.config()["kvgauge"]["base"] = "base";
  arm.open();
  EXPECT_THAT(zoo_names(), ::testing::IsSupersetOf({"arm", "base"}));
  EXPECT_EQ(Checkpoint::open("arm")->tensor("model.norm.weight").size(0), 32);
  ::unsetenv("KVG_ZOO");
  EXPECT_THAT(arm.open_error(), HasSubstr("kvgauge.base: found 'base', where no model is"));
}

TEST(HfBase, MustBeAnotherWholeModel) {
  Arm arm;
  arm.add_coda_layers();
  Json& base = arm.config()["kvgauge"]["base"];
  for (const char* nowhere : {"../bas", "config.json", "model.safetensors", "kvg-tinny"}) {
    base = nowhere;
    EXPECT_THAT(arm.open_error(), HasSubstr("arm/config.json: kvgauge.base: found '" +
                                            std::string(nowhere) + "', where no model is"));
  }
  EXPECT_THAT(arm.open_error(), HasSubstr("did you mean 'kvg-tiny'?"));
  base = std::string(5000, 'x');
  EXPECT_THAT(arm.open_error(), HasSubstr("kvgauge.base: found 'xxx"));
  for (const char* self : {".", "../arm", "../base/../arm/"}) {
    base = self;
    EXPECT_THAT(arm.open_error(), HasSubstr("which is this folder, expected another"));
  }
  std::filesystem::copy(arm.path("arm"), arm.path("second"));
  base = "../second";
  EXPECT_THAT(arm.open_error(), HasSubstr("'../second', which has a base of its own"));
  write_file(arm.path("base/config.json"), "{");
  base = "../base";
  EXPECT_THAT(arm.open_error(), HasSubstr("base/config.json: found invalid JSON"));
}

TEST(HfBase, MustHaveTheSameGeometry) {
  const std::vector<std::pair<const char*, Json>> changes = {
      {"hidden_size", 64},         {"num_hidden_layers", 1}, {"num_attention_heads", 2},
      {"num_key_value_heads", 4},  {"head_dim", 8},          {"intermediate_size", 44},
      {"vocab_size", 65},          {"rms_norm_eps", 1e-6},   {"tie_word_embeddings", true},
      {"rope_theta", 1000000.0625}};
  for (const auto& [key, value] : changes) {
    Arm arm;
    arm.config().erase("rope_parameters");
    arm.config()["rope_theta"] = 1e6;
    arm.config()["kvgauge"]["attention"] = "gqa";
    EXPECT_NO_THROW(arm.open());
    arm.config()[key] = value;
    EXPECT_THAT(arm.open_error(), HasSubstr("arm/config.json: " + std::string(key) + ": found "));
    EXPECT_THAT(arm.open_error(), HasSubstr(", as in its base base"));
  }
}

TEST(HfBase, TensorsMustBeTheModels) {
  Arm misspelt;
  misspelt.add_coda_layers();
  misspelt.add(layer_tensor(1, "self_attn.k_prj.weight"), {24, 32}, 1);
  EXPECT_THAT(misspelt.open_error(), HasSubstr("arm/model.safetensors: tensor model.layers.1."
                                               "self_attn.k_prj.weight: found none that"));
  EXPECT_THAT(misspelt.open_error(),
              HasSubstr("did you mean 'model.layers.1.self_attn.k_proj.weight'"));
  Arm deep;
  deep.add_coda_layers();
  deep.add(layer_tensor(2, "self_attn.q_proj.weight"), {48, 32}, 1);
  EXPECT_THAT(deep.open_error(), HasSubstr("tensor model.layers.2.self_attn.q_proj.weight"));
}

TEST(HfBase, WhatNeitherHasIsMissedInTheFolder) {
  Arm arm;
  arm.add(kTheta, {4, 6}, 0.5f);
  EXPECT_THAT(arm.open_error(), HasSubstr("arm/model.safetensors: tensor model.layers.1.self_attn."
                                          "theta: found no such tensor, expected all layers"));
  arm.add(layer_tensor(1, "self_attn.theta"), {4, 6}, 0.5f);
  const auto checkpoint = arm.open();
  const std::string lambda = layer_tensor(0, "self_attn.lambda_proj.weight");
  EXPECT_THAT(error_of([&] { checkpoint->tensor(lambda); }),
              HasSubstr("arm/model.safetensors: tensor " + lambda +
                        ": found no such tensor, expected it here or in "));
}

TEST(HfBase, TensorsOfAWrongShapeAreRefusedWhereTheyAre) {
  Arm arm;
  arm.config()["kvgauge"]["attention"] = "gqa";
  arm.add(kQuery, {48, 31}, 1);
  const auto checkpoint = arm.open();
  const auto ops = make_reference_ops();
  EXPECT_THAT(error_of([&] { Weights::load(*checkpoint, *ops); }),
              HasSubstr("arm/model.safetensors: tensor " + kQuery + ": found [48, 31] f32"));
}

}  // namespace
}  // namespace kvg
