#include "model/formats/llama2c.h"

#include "model/formats/test_files.h"

#include <array>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::HasSubstr;

// Width 8, ffn 12, 2 layers, 4 heads, 2 KV heads, vocabulary 10, context 6.
constexpr std::array<int32_t, 7> kFields = {8, 12, 2, 4, 2, 10, 6};
constexpr int64_t kNorms = 2 * 8;  // of all layers
constexpr int64_t kProjections = 2 * (8 * 8 + 4 * 8 + 4 * 8 + 8 * 8 + 3 * 12 * 8);

// The header, then floats that count 0, 1, 2 ... so that an element says where it was stored.
std::string counting_file(const std::string& header, int64_t elements) {
  std::string file = header;
  for (int64_t i = 0; i < elements; ++i) {
    const auto value = static_cast<float>(i);
    file.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return file;
}

std::string fields_text(std::array<int32_t, 7> fields) {
  return {reinterpret_cast<const char*>(fields.data()), sizeof(fields)};
}

std::string legacy(std::array<int32_t, 7> fields, bool tied) {
  if (!tied) fields[5] = -fields[5];
  const int64_t tables = 6 * 2;  // context x head_dim
  return counting_file(fields_text(fields),
                       80 + 2 * kNorms + kProjections + 8 + tables + (tied ? 0 : 80));
}

std::string version1(std::array<int32_t, 7> fields, bool tied, int32_t version = 1) {
  std::string header = "24ka";
  header.append(reinterpret_cast<const char*>(&version), sizeof(version));
  header += fields_text(fields);
  header.push_back(tied ? 1 : 0);
  header.resize(256, '\0');
  return counting_file(header, 80 + 2 * kNorms + kProjections + 8 + (tied ? 0 : 80));
}

float first(const Checkpoint& checkpoint, const std::string& name) {
  return checkpoint.tensor(name).as<float>()[0];
}

TEST(Llama2c, PlacesTheTensorsOfTheLegacyFormat) {
  const TempFolder folder;
  write_file(folder / "tied.bin", legacy(kFields, true));
  const auto tied = Checkpoint::open((folder / "tied.bin").string());
  const ModelConfig& config = tied->config();
  EXPECT_EQ(config.name, "tied");
  EXPECT_EQ(config.head_dim, 2);
  EXPECT_EQ(config.vocab, 10);
  EXPECT_FALSE(config.rope.half_split);
  EXPECT_TRUE(config.tied_head);
  EXPECT_FALSE(tied->has("lm_head.weight"));
  EXPECT_EQ(first(*tied, "model.embed_tokens.weight"), 0);
  EXPECT_EQ(first(*tied, "model.layers.1.input_layernorm.weight"), 80 + 8);
  EXPECT_EQ(first(*tied, "model.layers.0.self_attn.q_proj.weight"), 96);
  EXPECT_EQ(first(*tied, "model.layers.1.self_attn.k_proj.weight"), 96 + 128 + 32);
  EXPECT_EQ(first(*tied, "model.layers.0.post_attention_layernorm.weight"), 96 + 384);
  EXPECT_EQ(first(*tied, "model.layers.0.mlp.down_proj.weight"), 496 + 192);
  EXPECT_EQ(first(*tied, "model.layers.1.mlp.up_proj.weight"), 496 + 384 + 96);
  EXPECT_EQ(first(*tied, "model.norm.weight"), 496 + 576);
  write_file(folder / "untied.bin", legacy(kFields, false));
  const auto untied = Checkpoint::open((folder / "untied.bin").string());
  EXPECT_FALSE(untied->config().tied_head);
  EXPECT_EQ(first(*untied, "lm_head.weight"), 1080 + 12);
  EXPECT_TRUE(untied->tokenizer_path().empty());
}

TEST(Llama2c, PlacesTheTensorsOfVersion1) {
  const TempFolder folder;
  write_file(folder / "x.bin", version1(kFields, false));
  const auto checkpoint = Checkpoint::open((folder / "x.bin").string());
  EXPECT_EQ(first(*checkpoint, "model.layers.1.input_layernorm.weight"), 8);
  EXPECT_EQ(first(*checkpoint, "model.layers.0.post_attention_layernorm.weight"), 16);
  EXPECT_EQ(first(*checkpoint, "model.norm.weight"), 32);
  EXPECT_EQ(first(*checkpoint, "model.embed_tokens.weight"), 40);
  EXPECT_EQ(first(*checkpoint, "model.layers.0.self_attn.q_proj.weight"), 120);
  EXPECT_EQ(first(*checkpoint, "model.layers.0.mlp.gate_proj.weight"), 120 + 384);
  EXPECT_EQ(first(*checkpoint, "lm_head.weight"), 120 + 384 + 576);
}

TEST(Llama2c, RefusesWhatDoesNotFit) {
  const TempFolder folder;
  const auto message = [&](const std::string& bytes) {
    write_file(folder / "x.bin", bytes);
    return error_of([&] { Checkpoint::open((folder / "x.bin").string()); });
  };
  const std::string whole = legacy(kFields, true);
  EXPECT_THAT(message(whole.substr(0, whole.size() - 4)), HasSubstr("for the header's geometry"));
  EXPECT_THAT(message(whole + "1234"), HasSubstr("for the header's geometry"));
  EXPECT_THAT(message(""), HasSubstr("x.bin: header: found 0 bytes"));
  EXPECT_THAT(message(whole.substr(0, 20)), HasSubstr("header: found 20 bytes"));
  EXPECT_THAT(message(version1(kFields, true, 2)), HasSubstr("version: found 2"));
  EXPECT_THAT(message(version1(kFields, true).substr(0, 100)), HasSubstr("100 bytes"));
  auto fields = kFields;
  fields[3] = 0;
  EXPECT_THAT(message(legacy(fields, true)), HasSubstr("heads: found 0"));
  fields = kFields;
  fields[3] = 3;
  EXPECT_THAT(message(legacy(fields, true)), HasSubstr("a divisor of the width 8"));
  fields = kFields;
  fields[2] = -1;
  EXPECT_THAT(message(legacy(fields, true)), HasSubstr("layers: found -1"));
  fields = kFields;
  fields[6] = -1;
  EXPECT_THAT(message(legacy(fields, true)), HasSubstr("max_positions: found -1"));
}

TEST(Llama2c, BothFilesOfStories260KHoldTheSameModel) {
  const std::filesystem::path folder = data_root() / "models/stories260K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs KVG_DATA";
  const auto a = Checkpoint::open((folder / "checkpoint_legacy.bin").string());
  const auto b = Checkpoint::open((folder / "checkpoint_v1.bin").string());
  const ModelConfig& config = a->config();
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.ffn, 172);
  EXPECT_EQ(config.layers, 5);
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocab, 512);
  EXPECT_EQ(config.max_positions, 512);
  EXPECT_TRUE(config.tied_head);
  EXPECT_EQ(a->tokenizer_path(), folder / "tokenizer.bin");
  EXPECT_NE(a->hash(), b->hash());
  for (const TensorSpec& spec : model_tensors(config)) {
    const Tensor x = a->tensor(spec.name);
    const Tensor y = b->tensor(spec.name);
    ASSERT_EQ(x.bytes(), y.bytes()) << spec.name;
    EXPECT_EQ(std::memcmp(x.data, y.data, x.bytes()), 0) << spec.name;
  }
}

}  // namespace
}  // namespace kvg
