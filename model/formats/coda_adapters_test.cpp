#include "model/formats/coda_adapters.h"

#include "model/formats/test_files.h"
#include "model/formats/torch_test_files.h"
#include "model/weights.h"

#include <algorithm>
#include <functional>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<Checkpoint> base() {
  return Checkpoint::open((golden_folder() / "mistral-coda").string());
}

CodaAdapters open_golden(const std::string& phase, const CodaAdapterSettings& settings = {}) {
  return open_coda_adapters(base(), golden_folder() / "mistral-coda" / phase, settings);
}

// The value assumed for a setting, or "" when none was.
std::string assumed(const CodaAdapters& adapters, const std::string& setting) {
  for (const Assumption& one : adapters.assumptions) {
    if (one.setting == setting) return one.value;
  }
  return "";
}

// Shapes of one layer's tensors for the golden base, as the package has them.
using Shapes = std::map<std::string, std::vector<int64_t>>;
Shapes layer_shapes() {
  return {{"coda.q_proj.weight", {32, 32}}, {"coda.k_proj.weight", {16, 32}},
          {"coda.v_proj.weight", {16, 32}}, {"coda.o_proj.weight", {32, 32}},
          {"coda.theta", {4, 4}},           {"coda.lambda_proj.weight", {4, 32}},
          {"coda.lambda_proj.bias", {4}},   {"coda.write_proj.weight", {1, 32}},
          {"coda.write_proj.bias", {1}},    {"coda.summary_eta_logit", {2}},
          {"coda.head_norm.weight", {8}}};
}

// A file with these layers; every tensor is a view of one storage of zeros.
std::string adapters_file(const std::vector<std::pair<std::string, Shapes>>& layers) {
  std::vector<std::pair<std::string, std::string>> groups;
  for (const auto& [name, shapes] : layers) {
    std::vector<std::pair<std::string, std::string>> tensors;
    for (const auto& [tensor, shape] : shapes) {
      const std::vector<int64_t> strides =
          shape.size() == 1 ? std::vector<int64_t>{1} : std::vector<int64_t>{shape[1], 1};
      tensors.emplace_back(tensor, pickled::tensor({"FloatStorage", "0", 2048, 0, shape, strides}));
    }
    groups.emplace_back(name, pickled::dict(tensors));
  }
  return zip_bytes({{"a/data.pkl", pickled::whole(pickled::dict(groups))},
                    {"a/data/0", std::string(2048 * 4, '\0')}});
}

class AdaptersFile : public ::testing::Test {
 protected:
  CodaAdapters open(const std::vector<std::pair<std::string, Shapes>>& layers,
                    const CodaAdapterSettings& settings = {}) const {
    write_file(folder_ / "adapters.pt", adapters_file(layers));
    return open_coda_adapters(base(), folder_ / "adapters.pt", settings);
  }
  // What is said of a file whose second layer is damaged.
  std::string refusal(const std::function<void(Shapes*)>& damage) const {
    Shapes second = layer_shapes();
    damage(&second);
    return error_of([&] { open({{"layer_0", layer_shapes()}, {"layer_1", second}}); });
  }
  TempFolder folder_;
};

TEST(CodaAdapters, ReplaceTheAttentionAndNothingElse) {
  const auto plain = base();
  const CodaAdapters adapters = open_golden("phase2");
  const ModelConfig& config = adapters.checkpoint->config();
  EXPECT_EQ(config.name, "mistral-coda+coda_adapters");
  EXPECT_TRUE(config.coda);
  EXPECT_TRUE(config.write_gate);
  EXPECT_TRUE(config.summary_eta);
  EXPECT_FALSE(config.head_norm);
  for (const TensorSpec& spec : model_tensors(config)) {
    EXPECT_TRUE(adapters.checkpoint->has(spec.name)) << spec.name;
    const Tensor tensor = adapters.checkpoint->tensor(spec.name);
    ASSERT_EQ(static_cast<size_t>(tensor.rank), spec.shape.size()) << spec.name;
    const bool attention = spec.name.find("self_attn") != std::string::npos;
    EXPECT_EQ(adapters.checkpoint->where(spec.name).ends_with("coda_adapters.pt"), attention);
    if (attention) continue;
    const Tensor same = plain->tensor(spec.name);
    EXPECT_TRUE(std::equal(static_cast<const char*>(tensor.data),
                           static_cast<const char*>(tensor.data) + tensor.bytes(),
                           static_cast<const char*>(same.data)));
  }
  EXPECT_NE(adapters.checkpoint->hash(), plain->hash());
  EXPECT_NE(adapters.checkpoint->hash(), open_golden("phase1").checkpoint->hash());
  EXPECT_THAT(error_of([&] {
                open_coda_adapters(open_golden("phase2").checkpoint,
                                   golden_folder() / "mistral-coda/phase2", {});
              }),
              HasSubstr("attention: found coda"));
}

TEST(CodaAdapters, SayWhatTheyAssumed) {
  const CodaAdapters gates = open_golden("phase2");
  EXPECT_EQ(assumed(gates, "rope_base"), "1000000");
  EXPECT_EQ(assumed(gates, "rope_angles"), "exact");
  EXPECT_EQ(assumed(gates, "write_gates"), "");
  EXPECT_EQ(assumed(gates, "summary_rate"), "");
  EXPECT_EQ(assumed(gates, "head_norm"), "identity");
  const CodaAdapters given = open_golden("phase1", {1e4, true, MissingGates::one});
  EXPECT_EQ(assumed(given, "rope_base"), "");
  EXPECT_EQ(assumed(given, "rope_angles"), "");
  EXPECT_EQ(assumed(given, "write_gates"), "1");
  EXPECT_EQ(assumed(given, "summary_rate"), "0.0474");
  EXPECT_EQ(given.checkpoint->config().rope.base, 1e4);
  EXPECT_TRUE(given.checkpoint->config().rope.bf16_angles);
}

TEST(CodaAdapters, MissingGatesAreOptional) {
  const std::string weight = layer_tensor(1, "self_attn.write_proj.weight");
  const std::string bias = layer_tensor(1, "self_attn.write_proj.bias");
  const CodaAdapters init = open_golden("phase1");
  EXPECT_EQ(assumed(init, "write_gates"), "0.1192");
  EXPECT_TRUE(init.checkpoint->config().write_gate);
  EXPECT_EQ(*init.checkpoint->tensor(bias).as<float>(), -2.0f);
  const Tensor zeros = init.checkpoint->tensor(weight);
  EXPECT_TRUE(std::all_of(zeros.as<float>(), zeros.as<float>() + zeros.elements(),
                          [](float value) { return value == 0; }));
  const CodaAdapters one = open_golden("phase1", {0, false, MissingGates::one});
  EXPECT_FALSE(one.checkpoint->config().write_gate);
  EXPECT_FALSE(one.checkpoint->has(weight));
  EXPECT_NE(one.checkpoint->hash(), init.checkpoint->hash());
  EXPECT_THAT(error_of([] {
                open_golden("phase2", {0, false, MissingGates::one});
              }),
              AllOf(HasSubstr("--missing-gates"), HasSubstr("without write_proj")));
}

TEST_F(AdaptersFile, LayersMayBeAList) {
  const Shapes shapes = layer_shapes();
  const CodaAdapters adapters = open({{"0", shapes}, {"1", shapes}});
  EXPECT_TRUE(adapters.checkpoint->config().head_norm);
  const auto ops = make_cpu_ops(1);
  EXPECT_EQ(Weights::load(*adapters.checkpoint, *ops).layers.size(), 2u);
}

TEST_F(AdaptersFile, WrongLayersAreRefused) {
  const Shapes shapes = layer_shapes();
  EXPECT_THAT(error_of([&] {
                open({{"layer_0", shapes}});
              }),
              HasSubstr("layer_1: found none of 1, expected the 2 layers of mistral-coda"));
  EXPECT_THAT(error_of([&] {
                open({{"layer_0", shapes}, {"layer_1", shapes}, {"layer_2", shapes}});
              }),
              HasSubstr("layers: found 3, expected the 2 layers"));
  EXPECT_THAT(refusal([](Shapes* s) { s->erase("coda.q_proj.weight"); }),
              HasSubstr("layer_1: found no coda.q_proj.weight, expected it in every layer"));
  EXPECT_THAT(refusal([](Shapes* s) { s->erase("coda.summary_eta_logit"); }),
              HasSubstr("layer_1: found no coda.summary_eta_logit, expected all layers alike"));
  EXPECT_THAT(refusal([](Shapes* s) { (*s)["coda.q_proj.bias"] = {32}; }),
              HasSubstr("layer_1: found a coda.q_proj.bias"));
  EXPECT_THAT(refusal([](Shapes* s) {
                (*s)["coda.thete"] = {4, 4};
              }),
              AllOf(HasSubstr("tensor coda.thete"), HasSubstr("did you mean 'coda.theta'?")));
  EXPECT_THAT(refusal([](Shapes* s) {
                (*s)["q_proj.weight"] = {32, 32};
              }),
              HasSubstr("layer_1: found tensor q_proj.weight"));
  Shapes half = shapes;
  half.erase("coda.write_proj.bias");
  EXPECT_THAT(error_of([&] {
                open({{"layer_0", half}, {"layer_1", half}});
              }),
              HasSubstr("coda.write_proj: found only one of weight and bias"));
}

TEST_F(AdaptersFile, ShapesAreTheBaseModels) {
  Shapes shapes = layer_shapes();
  shapes["coda.theta"] = {4, 8};
  const CodaAdapters adapters = open({{"layer_0", shapes}, {"layer_1", shapes}});
  const auto ops = make_cpu_ops(1);
  EXPECT_THAT(error_of([&] { Weights::load(*adapters.checkpoint, *ops); }),
              AllOf(HasSubstr("adapters.pt: tensor model.layers.0.self_attn.theta"),
                    HasSubstr("[4, 8] f32, expected [4, 4] f32")));
}

}  // namespace
}  // namespace kvg
