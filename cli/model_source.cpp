#include "cli/model_source.h"

#include "model/session.h"

#include <nlohmann/json.hpp>

namespace kvg::cli {

namespace {

std::string describe(const LoadedModel& model, int64_t chunk, int64_t context) {
  const ModelConfig& config = model.weights.config;
  const nlohmann::json json = {
      {"architecture", config.architecture},
      {"attention", config.coda ? "coda" : "gqa"},
      {"layers", config.layers},
      {"hidden", config.hidden},
      {"heads", config.heads},
      {"kv_heads", config.kv_heads},
      {"head_dim", config.head_dim},
      {"ffn", config.ffn},
      {"vocab", config.vocab},
      {"parameters", config.parameters()},
      {"context", context},
      {"rope_base", config.rope.base},
      {"rope_bf16_angles", config.rope.bf16_angles},
      {"operations", model.ops->name()},
      {"chunk", chunk},
  };
  return json.dump();
}

}  // namespace

CliModelSource::CliModelSource(const ModelOptions& options, int64_t chunk, int64_t context)
    : model_(load_model(options)), chunk_(chunk_or_default(chunk, *model_.ops)) {
  facts_.name = model_.weights.config.name;
  facts_.hash = model_.checkpoint->hash();
  facts_.context = context > 0 ? context : model_.weights.config.max_positions;
  facts_.config_json = describe(model_, chunk_, facts_.context);
}

std::string CliModelSource::canonical(const std::string& method) const {
  return Method::parse(method).canonical();
}

CacheBytes CliModelSource::planned_bytes(const std::string& method, int64_t tokens) const {
  const CacheGeometry geometry = cache_geometry(model_.weights.config);
  return all_layers(make_policy(Method::parse(method))->bytes_per_layer(geometry, tokens),
                    geometry.layers);
}

std::unique_ptr<Subject> CliModelSource::subject(const std::string& method,
                                                 int64_t max_tokens) const {
  return std::make_unique<Session>(model_.weights, *model_.ops, Method::parse(method),
                                   SessionOptions{chunk_, max_tokens});
}

}  // namespace kvg::cli
