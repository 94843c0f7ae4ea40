#include "base/names.h"
#include "model/cache/full.h"
#include "model/cache/landmark.h"
#include "model/cache/policy.h"
#include "model/cache/random.h"
#include "model/cache/window.h"

#include <vector>

namespace kvg {

// One row a policy. A new policy adds its own files and a row here.
std::span<const PolicyEntry> policy_table() {
  static const std::vector<PolicyEntry> table = {
      {"full", "every token, exact in number: the reference", full_arguments(), &make_full},
      {"window", "the most recent tokens", window_arguments(), &make_window},
      {"sinks", "StreamingLLM: first tokens and recent ones, positions inside the cache",
       sinks_arguments(), &make_sinks},
      {"landmark", "recent window, exact landmark bank, summary bank (CoDA-GQA-L)",
       landmark_arguments(), &make_landmark},
      {"random", "control: recent window and a random sample of the rest", random_arguments(),
       &make_random},
  };
  return table;
}

const PolicyEntry& find_policy(std::string_view name) {
  std::vector<std::string> names;
  for (const PolicyEntry& entry : policy_table()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw Error("method", "retention", "'" + std::string(name) + "'" + did_you_mean(name, names),
              "one of " + join(names));
}

std::unique_ptr<Policy> make_policy(const Method& method) {
  return find_policy(method.retention.name).make(method);
}

DecodePlan plain_decode_plan(const CacheGeometry& geometry) {
  DecodePlan plan;
  plan.layers = geometry.layers;
  plan.heads = geometry.heads;
  plan.kv_heads = geometry.kv_heads;
  plan.head_dim = geometry.head_dim;
  return plan;
}

CacheBytes& CacheBytes::operator+=(const CacheBytes& other) {
  keys += other.keys;
  values += other.values;
  scales += other.scales;
  metadata += other.metadata;
  return *this;
}

CacheBytes all_layers(const CacheBytes& layer, int64_t layers) {
  return {layer.keys * layers, layer.values * layers, layer.scales * layers,
          layer.metadata * layers};
}

}  // namespace kvg
