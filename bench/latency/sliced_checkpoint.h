#pragma once

#include "model/checkpoint.h"

#include <memory>

namespace kvg {

// The first `layers` layers of a model, between its own embedding and head: what a model too large
// for a machine costs a layer. Throws Error when the model has fewer.
std::unique_ptr<Checkpoint> slice_layers(std::unique_ptr<Checkpoint> whole, int64_t layers);

}  // namespace kvg
