#pragma once

#include "model/config.h"
#include "model/formats/hf_config.h"

#include <filesystem>
#include <string>

namespace kvg {

// The folder that `base`, named in the config.json of `folder`, stands for: a zoo model of that
// name, else a path seen from the folder. Throws Error when it is no model's folder, when it is
// `folder` itself, or when it has a base of its own.
std::filesystem::path find_hf_base(const HfBase& base, const std::filesystem::path& folder);

// A folder and its base share tensors, so they must have one geometry: throws Error naming `where`
// (the folder's config.json), the key of config.json, what it says and what `base` has.
void require_geometry_of_base(const ModelConfig& config, const ModelConfig& base,
                              const std::string& where);

}  // namespace kvg
