#pragma once

#include "model/config.h"

#include <span>
#include <string>
#include <string_view>

namespace kvg {

// Geometries as YAML, one file a model in this folder; compiled into the program, so that it runs
// from anywhere. Keys are the names of ModelConfig's members; rope_base, rope_half_split and
// rope_bf16_angles are those of RopeSettings; attention is "gqa" (default) or "coda".
struct EmbeddedPreset {
  std::string_view name;
  std::string_view yaml;
};
std::span<const EmbeddedPreset> embedded_presets();

// Throws Error naming `where` and the key that is unknown, missing or wrong.
ModelConfig parse_preset(const std::string& yaml, const std::string& name,
                         const std::string& where);

}  // namespace kvg
