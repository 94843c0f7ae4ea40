#pragma once

#include "model/cache/policy.h"

#include <memory>
#include <vector>

namespace kvg {

// `random`: the control every selective policy must beat. A recent window and a uniform random
// sample, without replacement, of everything older (reservoir sampling, Vitter 1985, Algorithm R),
// drawn anew for each layer. Evictions happen in blocks on an absolute grid of positions, so that
// any chunking of the prefill and token-by-token decoding see the same cache.
std::vector<ArgumentSpec> random_arguments();
std::unique_ptr<Policy> make_random(const Method& method);

}  // namespace kvg
