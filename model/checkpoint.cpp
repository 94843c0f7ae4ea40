#include "model/checkpoint.h"

#include "base/error.h"
#include "base/names.h"
#include "model/formats/hf_folder.h"
#include "model/formats/llama2c.h"
#include "model/formats/zoo.h"
#include "model/presets/presets.h"
#include "model/presets/random_checkpoint.h"

#include <algorithm>

namespace kvg {

namespace {

constexpr std::string_view kPresetPrefix = "preset:";

std::unique_ptr<Checkpoint> open_path(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return open_hf_folder(path);
  if (std::filesystem::is_regular_file(path) && path.extension() == ".bin") {
    return open_llama2c(path);
  }
  if (std::filesystem::exists(path)) {
    throw Error("model", path.string(), "a file of another kind",
                "a folder with config.json, or a llama2.c .bin file");
  }
  std::vector<std::string> names = zoo_names();
  for (const std::string& name : preset_names()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  throw Error("model", path.string(), "no such name or path" + did_you_mean(path.string(), names),
              "a path or one of " + join(names));
}

}  // namespace

std::string layer_tensor(int64_t layer, std::string_view part) {
  return "model.layers." + std::to_string(layer) + "." + std::string(part);
}

std::vector<TensorSpec> model_tensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden;
  std::vector<TensorSpec> tensors = {{"model.embed_tokens.weight", {config.vocab, hidden}}};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto add = [&](std::string_view part, std::vector<int64_t> shape) {
      tensors.push_back({layer_tensor(layer, part), std::move(shape)});
    };
    add("input_layernorm.weight", {hidden});
    add("self_attn.q_proj.weight", {config.q_width(), hidden});
    add("self_attn.k_proj.weight", {config.kv_width(), hidden});
    add("self_attn.v_proj.weight", {config.kv_width(), hidden});
    add("self_attn.o_proj.weight", {hidden, config.q_width()});
    if (config.attention_bias) {
      add("self_attn.q_proj.bias", {config.q_width()});
      add("self_attn.k_proj.bias", {config.kv_width()});
      add("self_attn.v_proj.bias", {config.kv_width()});
      add("self_attn.o_proj.bias", {hidden});
    }
    if (config.coda) {
      add("self_attn.theta", {config.heads, config.head_dim / 2});
      add("self_attn.lambda_proj.weight", {config.heads, hidden});
      add("self_attn.lambda_proj.bias", {config.heads});
    }
    if (config.write_gate) {
      add("self_attn.write_proj.weight", {1, hidden});
      add("self_attn.write_proj.bias", {1});
    }
    if (config.summary_eta) add("self_attn.summary_eta_logit", {config.kv_heads});
    if (config.head_norm) add("self_attn.head_norm.weight", {config.head_dim});
    add("post_attention_layernorm.weight", {hidden});
    add("mlp.gate_proj.weight", {config.ffn, hidden});
    add("mlp.up_proj.weight", {config.ffn, hidden});
    add("mlp.down_proj.weight", {hidden, config.ffn});
  }
  tensors.push_back({"model.norm.weight", {hidden}});
  if (!config.tied_head) tensors.push_back({"lm_head.weight", {config.vocab, hidden}});
  return tensors;
}

std::unique_ptr<Checkpoint> Checkpoint::open(const std::string& source, uint64_t seed) {
  if (source.starts_with(kPresetPrefix)) {
    return open_random(preset_config(source.substr(kPresetPrefix.size())), seed);
  }
  if (const std::filesystem::path folder = find_zoo_model(source); !folder.empty()) {
    return open_hf_folder(folder);
  }
  const std::vector<std::string> presets = preset_names();
  if (std::find(presets.begin(), presets.end(), source) != presets.end()) {
    return open_random(preset_config(source), seed);
  }
  return open_path(source);
}

}  // namespace kvg
