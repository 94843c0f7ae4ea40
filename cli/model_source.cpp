#include "cli/model_source.h"

#include "cli/geometry_json.h"
#include "model/session.h"

#include <nlohmann/json.hpp>

namespace kvg::cli {

namespace {

std::string describe(const LoadedModel& model, int64_t chunk, int64_t context) {
  const ModelConfig& config = model.weights.config;
  nlohmann::json json = geometry_json(model);
  json["context"] = context;
  json["rope_base"] = config.rope.base;
  json["rope_bf16_angles"] = config.rope.bf16_angles;
  json["operations"] = model.ops->name();
  json["chunk"] = chunk;
  return json.dump();
}

}  // namespace

CliModelSource::CliModelSource(const ModelOptions& options, int64_t chunk, int64_t context)
    : model_(load_model(options)), chunk_(chunk_or_default(chunk, *model_.ops)) {
  facts_.name = model_.weights.config.name;
  facts_.hash = model_.checkpoint->hash();
  facts_.context = context > 0 ? context : model_.weights.config.max_positions;
  facts_.can_watch = model_.ops->device() == Device::cpu;
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
