#include "model/formats/hf_config.h"

#include "model/formats/test_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace kvg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

Json llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 8},
          {"intermediate_size", 96},
          {"vocab_size", 100}};
}

Json changed(const Json& changes) {
  Json json = llama();
  json.update(changes);
  return json;
}

ModelConfig parse(const Json& json) { return parse_hf_config(json.dump(), "config.json"); }

std::string parse_error(const Json& changes) {
  return error_of([&] { parse(changed(changes)).validate("config.json"); });
}

TEST(HfConfig, HasTheDefaultsOfTransformers) {
  const ModelConfig config = parse(llama());
  EXPECT_EQ(config.kv_heads, 8);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.rope.base, 10000.0);
  EXPECT_TRUE(config.rope.half_split);
  EXPECT_EQ(config.rms_eps, 1e-6);
  EXPECT_EQ(config.sliding_window, 0);
  EXPECT_FALSE(config.tied_head);
  EXPECT_EQ(config.bos, -1);
  EXPECT_THAT(config.eos, IsEmpty());
  EXPECT_NO_THROW(config.validate("config.json"));

  const ModelConfig mistral = parse(changed({{"architectures", {"MistralForCausalLM"}}}));
  EXPECT_EQ(mistral.kv_heads, 8);
  EXPECT_EQ(mistral.sliding_window, 4096);
  EXPECT_EQ(parse(changed({{"architectures", {"MistralForCausalLM"}}, {"sliding_window", nullptr}}))
                .sliding_window,
            0);
}

TEST(HfConfig, ReadsEveryKey) {
  const ModelConfig config = parse(changed({{"num_key_value_heads", 2},
                                            {"head_dim", 16},
                                            {"rope_theta", 500000.0},
                                            {"rope_scaling", nullptr},
                                            {"rms_norm_eps", 1e-5},
                                            {"tie_word_embeddings", true},
                                            {"attention_bias", true},
                                            {"max_position_embeddings", 4096},
                                            {"bos_token_id", 1},
                                            {"eos_token_id", {2, 7}}}));
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.ffn, 96);
  EXPECT_EQ(config.vocab, 100);
  EXPECT_EQ(config.max_positions, 4096);
  EXPECT_EQ(config.rope.base, 500000.0);
  EXPECT_EQ(config.rms_eps, 1e-5);
  EXPECT_TRUE(config.tied_head);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_EQ(config.bos, 1);
  EXPECT_THAT(config.eos, ElementsAre(2, 7));
  EXPECT_THAT(parse(changed({{"eos_token_id", 5}})).eos, ElementsAre(5));
}

TEST(HfConfig, ReadsTheRopeBaseOfEitherTransformers) {
  EXPECT_EQ(parse(changed({{"rope_theta", 1e6}})).rope.base, 1e6);
  EXPECT_EQ(parse(changed({{"rope_parameters", {{"rope_theta", 1e5}, {"rope_type", "default"}}}}))
                .rope.base,
            1e5);
  EXPECT_THAT(parse_error({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}),
              HasSubstr("rope_scaling.type: found \"linear\", expected \"default\""));
  EXPECT_THAT(parse_error({{"rope_parameters", {{"rope_type", "llama3"}, {"factor", 8.0}}}}),
              HasSubstr("rope_parameters.rope_type: found \"llama3\""));
  EXPECT_THAT(parse_error({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}),
              HasSubstr("partial_rotary_factor: found 0.5"));
}

TEST(HfConfig, ReadsWhatTheProjectAdds) {
  const ModelConfig config = parse(changed(
      {{"kvgauge", {{"attention", "coda"}, {"head_norm", true}, {"rope_bf16_angles", true}}}}));
  EXPECT_TRUE(config.coda);
  EXPECT_TRUE(config.head_norm);
  EXPECT_TRUE(config.rope.bf16_angles);
  EXPECT_FALSE(config.add_second_map);
  const auto second = [](const Json& how) {
    return Json{{"kvgauge", {{"attention", "coda"}, {"second_map", how}}}};
  };
  EXPECT_TRUE(parse(changed(second("add"))).add_second_map);
  EXPECT_FALSE(parse(changed(second("subtract"))).add_second_map);
  EXPECT_THAT(parse_error(second("plus")),
              HasSubstr("kvgauge.second_map: found \"plus\", expected \"subtract\" or \"add\""));
  EXPECT_THAT(parse_error({{"kvgauge", {{"second_map", "add"}}}}),
              HasSubstr("kvgauge.second_map: found \"add\", expected it with \"attention\""));
  EXPECT_FALSE(parse(changed({{"kvgauge", Json::object()}})).coda);
  EXPECT_THAT(parse_error({{"kvgauge", {{"attention", "mla"}}}}),
              HasSubstr("kvgauge.attention: found \"mla\", expected \"gqa\" or \"coda\""));
  EXPECT_THAT(parse_error({{"kvgauge", {{"head_nrom", true}}}}),
              HasSubstr("did you mean 'head_norm'"));
  EXPECT_THAT(parse_error({{"kvgauge", {{"head_norm", true}}}}),
              HasSubstr("head_norm: found true"));  // without coda
}

TEST(HfConfig, ReadsTheBaseOfAnOverlay) {
  const auto base = [](const Json& kvgauge) {
    return parse_hf_base(Json{{"kvgauge", kvgauge}}.dump(), "c");
  };
  EXPECT_FALSE(parse_hf_base("{}", "c"));
  EXPECT_FALSE(base({{"attention", "coda"}, {"base", nullptr}}));
  EXPECT_EQ(base({{"base", "kvg-tiny"}})->source, "kvg-tiny");
  EXPECT_EQ(base({{"base", "kvg-tiny"}})->hash, "");
  const std::string hash(64, 'a');
  EXPECT_EQ(base({{"base", "../b"}, {"base_hash", hash}})->hash, hash);
  const auto refused = [&](const Json& kvgauge) { return error_of([&] { base(kvgauge); }); };
  EXPECT_EQ(refused({{"base", 5}}), "c: kvgauge.base: found 5, expected a string");
  EXPECT_THAT(refused({{"base", ""}}), HasSubstr("kvgauge.base: found \"\", expected the name"));
  EXPECT_THAT(refused({{"base_hash", hash}}), HasSubstr("expected it beside kvgauge.base only"));
  EXPECT_THAT(refused({{"base", "b"}, {"base_hash", hash + "a"}}), HasSubstr("expected 64 lower"));
  EXPECT_THAT(refused({{"base", "b"}, {"base_hash", std::string(64, 'A')}}),
              HasSubstr("kvgauge.base_hash: found \"AAA"));
  EXPECT_THAT(error_of([] { parse_hf_base("{", "c"); }), HasSubstr("c: found invalid JSON"));
}

TEST(HfConfig, NamesFileKeyFoundAndExpected) {
  EXPECT_EQ(parse_error({{"hidden_size", "64"}}),
            "config.json: hidden_size: found \"64\", expected an integer");
  EXPECT_EQ(parse_error({{"hidden_size", nullptr}}),
            "config.json: hidden_size: found nothing, expected an integer");
  EXPECT_EQ(parse_error({{"rms_norm_eps", true}}),
            "config.json: rms_norm_eps: found true, expected a number");
  EXPECT_THAT(parse_error({{"architectures", {"GPT2LMHeadModel"}}}),
              HasSubstr("expected LlamaForCausalLM or MistralForCausalLM"));
  EXPECT_THAT(parse_error({{"architectures", nullptr}, {"model_type", "qwen2"}}),
              HasSubstr("model_type: found \"qwen2\""));
  EXPECT_EQ(parse(changed({{"architectures", nullptr}, {"model_type", "mistral"}})).architecture,
            "MistralForCausalLM");
  EXPECT_THAT(parse_error({{"hidden_act", "gelu"}}), HasSubstr("hidden_act: found \"gelu\""));
  EXPECT_THAT(parse_error({{"mlp_bias", true}}), HasSubstr("mlp_bias: found true"));
  EXPECT_THAT(parse_error({{"quantization_config", {{"bits", 4}}}}),
              HasSubstr("quantization_config"));
  EXPECT_THAT(parse_error({{"eos_token_id", {1, "x"}}}), HasSubstr("eos_token_id"));
  EXPECT_THAT(error_of([] { parse_hf_config("{", "c"); }), HasSubstr("c: found invalid JSON"));
  EXPECT_THAT(error_of([] { parse_hf_config("[1]", "c"); }), HasSubstr("a JSON object"));
}

TEST(HfConfig, RefusesAbsurdValues) {
  EXPECT_THAT(parse_error({{"num_attention_heads", 0}}), HasSubstr("num_attention_heads: found 0"));
  EXPECT_THAT(parse_error({{"num_attention_heads", 1ull << 40}}), HasSubstr("32-bit"));
  EXPECT_THAT(parse_error({{"hidden_size", 0}}), HasSubstr("hidden_size: found 0"));
  EXPECT_THAT(parse_error({{"hidden_size", -64}}), HasSubstr("hidden_size: found -64"));
  EXPECT_THAT(parse_error({{"hidden_size", 1ull << 63}}), HasSubstr("below 2^63"));
  EXPECT_THAT(parse_error({{"hidden_size", 1 << 30}}), HasSubstr("hidden: found 1073741824"));
  EXPECT_THAT(parse_error({{"num_hidden_layers", 0}}), HasSubstr("layers: found 0"));
  EXPECT_THAT(parse_error({{"num_hidden_layers", 100000}}), HasSubstr("layers: found 100000"));
  EXPECT_THAT(parse_error({{"num_key_value_heads", 3}}), HasSubstr("8 heads on 3 KV heads"));
  EXPECT_THAT(parse_error({{"num_key_value_heads", 16}}), HasSubstr("kv_heads: found 16"));
  EXPECT_THAT(parse_error({{"num_key_value_heads", 0}}), HasSubstr("kv_heads: found 0"));
  EXPECT_THAT(parse_error({{"head_dim", 7}}), HasSubstr("head_dim: found 7"));
  EXPECT_THAT(parse_error({{"head_dim", 0}}), HasSubstr("head_dim: found 0"));
  EXPECT_THAT(parse_error({{"vocab_size", 20'000'000}}), HasSubstr("vocab: found 20000000"));
  EXPECT_THAT(parse_error({{"intermediate_size", 0}}), HasSubstr("ffn: found 0"));
  EXPECT_THAT(parse_error({{"rms_norm_eps", 0.0}}), HasSubstr("rms_eps: found 0"));
  EXPECT_THAT(parse_error({{"rope_theta", -1.0}}), HasSubstr("rope base: found -1"));
  EXPECT_THAT(parse_error({{"bos_token_id", 100}}), HasSubstr("bos: found 100"));
  EXPECT_THAT(parse_error({{"eos_token_id", 100}}), HasSubstr("eos: found 100"));
  EXPECT_THAT(parse_error({{"max_position_embeddings", -5}}), HasSubstr("max_positions: found -5"));
}

}  // namespace
}  // namespace kvg
