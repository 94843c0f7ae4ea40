#include "model/presets/presets.h"

#include "model/formats/test_files.h"
#include "model/presets/random_checkpoint.h"

#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

TEST(Presets, HaveTheParametersOfTheModels) {
  // What the publishers' checkpoints have, element by element.
  EXPECT_EQ(preset_config("mistral-7b").parameters(), 7'248'023'552);
  EXPECT_EQ(preset_config("llama-3-70b").parameters(), 70'553'706'496);
  EXPECT_EQ(preset_config("smollm2-135m").parameters(), 134'515'008);
}

TEST(Presets, ParametersAreTheSumOfTheTensors) {
  for (const std::string& name : preset_names()) {
    const ModelConfig config = preset_config(name);
    EXPECT_EQ(config.name, name);
    int64_t sum = 0;
    for (const TensorSpec& spec : model_tensors(config)) {
      int64_t elements = 1;
      for (const int64_t extent : spec.shape) elements *= extent;
      sum += elements;
    }
    EXPECT_EQ(config.parameters(), sum) << name;
  }
}

TEST(Presets, UnknownNamesSuggestTheNearest) {
  EXPECT_THAT(error_of([] { preset_config("mistral-7"); }), HasSubstr("mean 'mistral-7b'"));
  EXPECT_THAT(preset_names(), Contains("kvg-tiny-coda"));
  EXPECT_TRUE(preset_config("kvg-tiny-coda").coda);
}

TEST(Presets, RefuseBrokenYaml) {
  const auto parse = [](const std::string& yaml) {
    return error_of([&] { parse_preset(yaml, "x", "x.yaml"); });
  };
  EXPECT_THAT(parse("["), HasSubstr("x.yaml: found"));
  EXPECT_THAT(parse("- 1"), HasSubstr("expected a map"));
  EXPECT_THAT(parse("hiden: 3"), HasSubstr("did you mean 'hidden'"));
  EXPECT_THAT(parse("hidden: wide"), HasSubstr("hidden: found wide"));
  EXPECT_THAT(parse("hidden: 3"), HasSubstr("found nothing, expected a value"));
  EXPECT_THAT(parse("attention: mla"), HasSubstr("attention: found mla, expected gqa or coda"));
  EXPECT_THAT(parse("? [a]\n: 1"), HasSubstr("x.yaml"));
}

TEST(RandomCheckpoint, IsTheSameEverywhere) {
  const auto checkpoint = Checkpoint::open("preset:kvg-tiny", 7);
  const Tensor q = checkpoint->tensor("model.layers.3.self_attn.q_proj.weight");
  ASSERT_EQ(q.dtype, DType::bf16);
  const auto* bits = static_cast<const uint16_t*>(q.data);
  // Computed by an independent implementation (Python integers, NumPy float32).
  const std::vector<uint16_t> first(bits, bits + 6);
  EXPECT_THAT(first, ::testing::ElementsAre(0xbd50, 0x3c50, 0x3c98, 0xbd32, 0xbd98, 0x3c50));
}

TEST(RandomCheckpoint, DependsOnSeedAndName) {
  const auto a = Checkpoint::open("preset:kvg-tiny", 0);
  const auto b = Checkpoint::open("preset:kvg-tiny", 1);
  const auto bytes = [](const Checkpoint& checkpoint, const char* name) {
    const Tensor tensor = checkpoint.tensor(name);
    return std::string(static_cast<const char*>(tensor.data), tensor.bytes());
  };
  const char* k = "model.layers.0.self_attn.k_proj.weight";
  const char* v = "model.layers.0.self_attn.v_proj.weight";
  EXPECT_NE(bytes(*a, k), bytes(*a, v));
  EXPECT_NE(bytes(*a, k), bytes(*b, k));
  EXPECT_NE(a->hash(), b->hash());
  const std::string before = bytes(*a, k);
  a->release(k);
  EXPECT_EQ(bytes(*a, k), before);
}

TEST(RandomCheckpoint, HasTheSpreadItPromises) {
  const auto checkpoint = Checkpoint::open("preset:kvg-tiny-coda", 3);
  const Tensor down = checkpoint->tensor("model.layers.0.mlp.down_proj.weight");  // [256, 768]
  const auto* bits = static_cast<const uint16_t*>(down.data);
  double sum = 0;
  double squares = 0;
  for (int64_t i = 0; i < down.elements(); ++i) {
    const double x = bf16_to_float(bits[i]);
    sum += x;
    squares += x * x;
  }
  const auto n = static_cast<double>(down.elements());
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(768 * n));
  EXPECT_NEAR(std::sqrt(squares / n * 768), 1, 0.01);
  const Tensor norm = checkpoint->tensor("model.norm.weight");
  EXPECT_EQ(bf16_to_float(static_cast<const uint16_t*>(norm.data)[255]), 1.0f);
  EXPECT_TRUE(checkpoint->has("model.layers.5.self_attn.summary_eta_logit"));
  EXPECT_FALSE(checkpoint->has("lm_head.weight"));  // tied
  EXPECT_THAT(error_of([&] { checkpoint->tensor("lm_head.weight"); }),
              HasSubstr("preset kvg-tiny-coda: tensor lm_head.weight"));
}

}  // namespace
}  // namespace kvg
