#include "model/formats/hf_config.h"

#include "base/error.h"
#include "base/names.h"

#include <array>
#include <limits>
#include <optional>

#include <nlohmann/json.hpp>

namespace kvg {

namespace {

using Json = nlohmann::json;

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Typed reads of one JSON object; every wrong value is an Error naming file and key.
class Object {
 public:
  Object(const Json& json, const std::string& where, std::string prefix)
      : json_(json), where_(where), prefix_(std::move(prefix)) {}

  // Null and absent are the same: transformers writes null for "not set".
  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    const Json* value = find(key);
    throw Error(where_, prefix_ + key, value == nullptr ? "nothing" : shown(*value), expected);
  }

  int64_t integer(const char* key, std::optional<int64_t> fallback = std::nullopt) const {
    const Json* value = find(key);
    if (value == nullptr && fallback) return *fallback;
    if (value == nullptr || !value->is_number_integer()) refuse(key, "an integer");
    if (value->is_number_unsigned() &&
        value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
      refuse(key, "an integer below 2^63");
    }
    return value->get<int64_t>();
  }
  int small(const char* key, std::optional<int64_t> fallback = std::nullopt) const {
    const int64_t value = integer(key, fallback);
    if (value < -1 || value > std::numeric_limits<int>::max()) refuse(key, "a 32-bit integer");
    return static_cast<int>(value);
  }
  double number(const char* key, double fallback) const {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number()) refuse(key, "a number");
    return value->get<double>();
  }
  bool boolean(const char* key, bool fallback) const {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) refuse(key, "true or false");
    return value->get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_string()) refuse(key, "a string");
    return value->get<std::string>();
  }
  std::optional<Object> object(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) refuse(key, "an object");
    return Object(*value, where_, prefix_ + key + ".");
  }
  void refuse_unknown(std::span<const std::string> known) const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        throw Error(where_, prefix_ + key, "an unknown key" + did_you_mean(key, known),
                    "one of " + join(known));
      }
    }
  }

 private:
  const Json& json_;
  const std::string& where_;
  std::string prefix_;
};

std::string read_architecture(const Object& root) {
  const std::string supported = "LlamaForCausalLM or MistralForCausalLM";
  std::string name;
  if (const Json* list = root.find("architectures"); list != nullptr) {
    if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
      root.refuse("architectures", "a list of one: " + supported);
    }
    name = (*list)[0].get<std::string>();
    if (name != "LlamaForCausalLM" && name != "MistralForCausalLM") {
      root.refuse("architectures", supported);
    }
    return name;
  }
  const std::string type = root.text("model_type", "");
  if (type == "llama") return "LlamaForCausalLM";
  if (type == "mistral") return "MistralForCausalLM";
  root.refuse(type.empty() ? "architectures" : "model_type", supported);
}

// transformers 4 has rope_theta and rope_scaling at the top level, transformers 5 rope_parameters.
double read_rope_base(const Object& root) {
  constexpr double kDefault = 10000.0;
  double base = root.number("rope_theta", kDefault);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const std::optional<Object> rope = root.object(key);
    if (!rope) continue;
    const char* type_key = rope->find("rope_type") != nullptr ? "rope_type" : "type";
    if (rope->text(type_key, "default") != "default") {
      rope->refuse(type_key, "\"default\": scaled RoPE is not supported");
    }
    base = rope->number("rope_theta", base);
    if (rope->number("partial_rotary_factor", 1.0) != 1.0) {
      rope->refuse("partial_rotary_factor", "1: the whole head is turned");
    }
  }
  return base;
}

std::vector<int32_t> read_eos(const Object& root) {
  const Json* value = root.find("eos_token_id");
  if (value == nullptr) return {};
  if (!value->is_array()) return {root.small("eos_token_id")};
  std::vector<int32_t> tokens;
  for (const Json& token : *value) {
    if (!token.is_number_unsigned() || token.get<uint64_t>() > std::numeric_limits<int>::max()) {
      root.refuse("eos_token_id", "a token id or a list of them");
    }
    tokens.push_back(token.get<int32_t>());
  }
  return tokens;
}

void read_kvgauge(const Object& root, ModelConfig* config) {
  const std::optional<Object> extra = root.object("kvgauge");
  if (!extra) return;
  const std::array<std::string, 6> known = {"attention",        "second_map", "head_norm",
                                            "rope_bf16_angles", "base",       "base_hash"};
  extra->refuse_unknown(known);
  const std::string attention = extra->text("attention", "gqa");
  if (attention != "gqa" && attention != "coda") extra->refuse("attention", "\"gqa\" or \"coda\"");
  config->coda = attention == "coda";
  const std::string second = extra->text("second_map", "subtract");
  if (second != "subtract" && second != "add")
    extra->refuse("second_map", "\"subtract\" or \"add\"");
  if (!config->coda && extra->find("second_map") != nullptr) {
    extra->refuse("second_map", "it with \"attention\": \"coda\" only");
  }
  config->add_second_map = second == "add";
  config->head_norm = extra->boolean("head_norm", false);
  config->rope.bf16_angles = extra->boolean("rope_bf16_angles", false);
}

void refuse_unsupported(const Object& root) {
  if (root.text("hidden_act", "silu") != "silu") root.refuse("hidden_act", "\"silu\"");
  if (root.boolean("mlp_bias", false)) root.refuse("mlp_bias", "false");
  if (root.find("quantization_config") != nullptr) {
    root.refuse("quantization_config", "none: weights in bf16, f16 or f32");
  }
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

Json parse_object(std::string_view text, const std::string& where) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) {
    throw Error(where, "", json.is_discarded() ? "invalid JSON" : "JSON of another kind",
                "a JSON object");
  }
  return json;
}

}  // namespace

std::optional<HfBase> parse_hf_base(std::string_view text, const std::string& where) {
  const Json json = parse_object(text, where);
  const std::optional<Object> extra = Object(json, where, "").object("kvgauge");
  if (!extra) return std::nullopt;
  const bool hashed = extra->find("base_hash") != nullptr;
  if (extra->find("base") == nullptr) {
    if (hashed) extra->refuse("base_hash", "it beside kvgauge.base only");
    return std::nullopt;
  }
  HfBase base{extra->text("base", ""), extra->text("base_hash", "")};
  if (base.source.empty()) extra->refuse("base", "the name of a zoo model or a relative path");
  if (hashed && !is_sha256(base.hash)) {
    extra->refuse("base_hash", "64 lower-case hexadecimal digits");
  }
  return base;
}

ModelConfig parse_hf_config(std::string_view text, const std::string& where) {
  const Json json = parse_object(text, where);
  const Object root(json, where, "");
  refuse_unsupported(root);
  ModelConfig config;
  config.architecture = read_architecture(root);
  const bool mistral = config.architecture == "MistralForCausalLM";
  config.hidden = root.integer("hidden_size");
  config.layers = root.integer("num_hidden_layers");
  config.heads = root.small("num_attention_heads");
  if (config.heads < 1) root.refuse("num_attention_heads", "at least 1");
  if (config.hidden < 1 || config.hidden > std::numeric_limits<int>::max()) {
    root.refuse("hidden_size", "a positive 32-bit integer");  // head_dim is derived from it
  }
  // Without the key, transformers gives a Mistral 8 KV heads and a Llama as many as query heads.
  const bool named = json.contains("num_key_value_heads");
  config.kv_heads = root.small("num_key_value_heads", mistral && !named ? 8 : config.heads);
  config.head_dim = root.small("head_dim", config.hidden / config.heads);
  config.ffn = root.integer("intermediate_size");
  config.vocab = root.integer("vocab_size");
  config.max_positions = root.integer("max_position_embeddings", 0);
  if (mistral) {
    config.sliding_window =
        root.integer("sliding_window", json.contains("sliding_window") ? 0 : 4096);
  }
  config.rms_eps = root.number("rms_norm_eps", 1e-6);
  config.rope.base = read_rope_base(root);
  config.tied_head = root.boolean("tie_word_embeddings", false);
  config.attention_bias = !mistral && root.boolean("attention_bias", false);
  config.bos = root.small("bos_token_id", -1);
  config.eos = read_eos(root);
  read_kvgauge(root, &config);
  return config;
}

}  // namespace kvg
