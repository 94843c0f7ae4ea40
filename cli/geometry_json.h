#pragma once

#include "model/config.h"

#include <nlohmann/json_fwd.hpp>

namespace kvg::cli {

// What a record says of a model's geometry.
nlohmann::json geometry_json(const ModelConfig& config);

}  // namespace kvg::cli
