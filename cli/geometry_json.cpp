#include "cli/geometry_json.h"

#include <nlohmann/json.hpp>

namespace kvg::cli {

nlohmann::json geometry_json(const LoadedModel& model) {
  const ModelConfig& config = model.weights.config;
  nlohmann::json json = {{"architecture", config.architecture},
                         {"attention", config.coda ? "coda" : "gqa"},
                         {"layers", config.layers},
                         {"hidden", config.hidden},
                         {"heads", config.heads},
                         {"kv_heads", config.kv_heads},
                         {"head_dim", config.head_dim},
                         {"ffn", config.ffn},
                         {"vocab", config.vocab},
                         {"parameters", config.parameters()}};
  if (config.coda) json["second_map"] = config.add_second_map ? "add" : "subtract";
  for (const Assumption& assumed : model.assumptions) {
    json["assumed"][assumed.setting] = assumed.value;
  }
  return json;
}

}  // namespace kvg::cli
