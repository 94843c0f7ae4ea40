#include "model/presets/presets.h"

#include "base/error.h"
#include "base/names.h"
#include "model/checkpoint.h"

#include <functional>
#include <map>
#include <vector>

#include <yaml-cpp/yaml.h>

namespace kvg {

namespace {

using Setter = std::function<void(const YAML::Node&)>;

template <typename T>
Setter set(T* member) {
  return [member](const YAML::Node& value) { *member = value.as<T>(); };
}

struct Key {
  Setter set;
  bool required;
};

std::map<std::string, Key> keys_of(ModelConfig* config) {
  return {
      {"architecture", {set(&config->architecture), true}},
      {"hidden", {set(&config->hidden), true}},
      {"layers", {set(&config->layers), true}},
      {"heads", {set(&config->heads), true}},
      {"kv_heads", {set(&config->kv_heads), true}},
      {"head_dim", {set(&config->head_dim), true}},
      {"ffn", {set(&config->ffn), true}},
      {"vocab", {set(&config->vocab), true}},
      {"max_positions", {set(&config->max_positions), false}},
      {"sliding_window", {set(&config->sliding_window), false}},
      {"rms_eps", {set(&config->rms_eps), true}},
      {"rope_base", {set(&config->rope.base), true}},
      {"rope_half_split", {set(&config->rope.half_split), false}},
      {"rope_bf16_angles", {set(&config->rope.bf16_angles), false}},
      {"tied_head", {set(&config->tied_head), true}},
      {"attention_bias", {set(&config->attention_bias), false}},
      {"bos", {set(&config->bos), false}},
      {"eos", {set(&config->eos), false}},
      {"write_gate", {set(&config->write_gate), false}},
      {"summary_eta", {set(&config->summary_eta), false}},
      {"head_norm", {set(&config->head_norm), false}},
  };
}

void set_attention(const YAML::Node& value, const std::string& where, ModelConfig* config) {
  const std::string name = value.IsScalar() ? value.Scalar() : YAML::Dump(value);
  if (name != "gqa" && name != "coda") throw Error(where, "attention", name, "gqa or coda");
  config->coda = name == "coda";
}

YAML::Node load_yaml(const std::string& yaml, const std::string& where) {
  try {
    YAML::Node root = YAML::Load(yaml);
    if (!root.IsMap()) throw Error(where, "", "YAML of another kind", "a map");
    return root;
  } catch (const YAML::Exception& error) {
    throw Error(where, "", error.what(), "valid YAML");
  }
}

}  // namespace

ModelConfig parse_preset(const std::string& yaml, const std::string& name,
                         const std::string& where) {
  const YAML::Node root = load_yaml(yaml, where);
  ModelConfig config;
  config.name = name;
  std::map<std::string, Key> keys = keys_of(&config);
  keys["attention"] = {[&](const YAML::Node& value) { set_attention(value, where, &config); },
                       false};
  std::vector<std::string> names;
  for (const auto& [key, entry] : keys) names.push_back(key);
  for (const auto& item : root) {
    if (!item.first.IsScalar()) throw Error(where, "", "a key that is no name", join(names));
    const std::string& key = item.first.Scalar();
    const auto known = keys.find(key);
    if (known == keys.end()) {
      throw Error(where, key, "an unknown key" + did_you_mean(key, names), join(names));
    }
    try {
      known->second.set(item.second);
    } catch (const YAML::Exception&) {
      throw Error(where, key, YAML::Dump(item.second), "a value of another type");
    }
    known->second.required = false;
  }
  for (const auto& [key, entry] : keys) {
    if (entry.required) throw Error(where, key, "nothing", "a value");
  }
  config.validate(where);
  return config;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const EmbeddedPreset& preset : embedded_presets()) names.emplace_back(preset.name);
  return names;
}

ModelConfig preset_config(const std::string& name) {
  for (const EmbeddedPreset& preset : embedded_presets()) {
    if (preset.name == name) {
      return parse_preset(std::string(preset.yaml), name, "preset " + name);
    }
  }
  const std::vector<std::string> names = preset_names();
  throw Error("preset", name, "no such preset" + did_you_mean(name, names),
              "one of " + join(names));
}

}  // namespace kvg
