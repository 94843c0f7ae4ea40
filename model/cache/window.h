#pragma once

#include "model/cache/policy.h"

#include <memory>
#include <vector>

namespace kvg {

// `window`: the last `window` tokens, the current one included.
std::vector<ArgumentSpec> window_arguments();
std::unique_ptr<Policy> make_window(const Method& method);

// `sinks`: StreamingLLM (Xiao et al., ICLR 2024, arXiv 2309.17453). The first `sinks` tokens and
// the last `window` ones; positions are those inside the cache. Keys stay rotated at their stream
// positions and the queries of the sinks are rotated as if the cache were numbered from 0, which is
// the same (kernels/ops.h, PrepareHeadsParams).
std::vector<ArgumentSpec> sinks_arguments();
std::unique_ptr<Policy> make_sinks(const Method& method);

}  // namespace kvg
