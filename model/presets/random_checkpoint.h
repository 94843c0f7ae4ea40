#pragma once

#include "model/checkpoint.h"

#include <memory>

namespace kvg {

// Seeded random weights in bf16 for a geometry, the same on every machine: element i of a tensor is
// a function of (seed, name of the tensor, i) in integer arithmetic and one exact multiplication.
// Matrices [out, in] have standard deviation 1/sqrt(in), so that activations and logits stay near
// 1; norms are 1; biases 0.02; theta 0.5 rad. A tensor exists from tensor() to release() only.
std::unique_ptr<Checkpoint> open_random(const ModelConfig& config, uint64_t seed);

}  // namespace kvg
