#pragma once

#include "model/cache/policy.h"

#include <memory>
#include <vector>

namespace kvg {

// `full`: every token stays readable. Storage grows by pages of 64 tokens.
std::vector<ArgumentSpec> full_arguments();
std::unique_ptr<Policy> make_full(const Method& method);

}  // namespace kvg
