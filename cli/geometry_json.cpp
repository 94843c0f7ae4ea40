#include "cli/geometry_json.h"

#include <nlohmann/json.hpp>

namespace kvg::cli {

nlohmann::json geometry_json(const ModelConfig& config) {
  return {{"architecture", config.architecture},
          {"attention", config.coda ? "coda" : "gqa"},
          {"layers", config.layers},
          {"hidden", config.hidden},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"head_dim", config.head_dim},
          {"ffn", config.ffn},
          {"vocab", config.vocab},
          {"parameters", config.parameters()}};
}

}  // namespace kvg::cli
