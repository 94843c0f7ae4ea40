#pragma once

#include "cli/loaded_model.h"

#include <nlohmann/json_fwd.hpp>

namespace kvg::cli {

// What a record says of a model: its geometry and, where there is any, what was assumed on loading.
nlohmann::json geometry_json(const LoadedModel& model);

}  // namespace kvg::cli
