#pragma once

#include "model/sequence.h"

#include <cstdint>
#include <span>

namespace kvg {

// Draws the next token from `logits` [vocab]. Greedy (temperature 0) takes the largest, the lowest
// id among equals. Otherwise the draw is a pure function of (logits, seed, position), so a resumed
// or repeated generation makes the same choices. Throws Error when no logit is finite.
int32_t sample_token(std::span<const float> logits, const Sampling& sampling, int64_t position);

// The same Error when one of the tokens that operations chose is -1, their sign for it.
void require_tokens(std::span<const int32_t> tokens);

}  // namespace kvg
