#pragma once

#include <cstdint>
#include <span>

namespace kvg {

// The next token from `logits` [vocab], or -1 when none of them is finite. temperature 0 takes the
// largest, the lowest id among equals. Otherwise a draw from softmax(logits / temperature) cut to
// the smallest set of most probable tokens that reaches `top_p`: a pure function of (logits, seed,
// position), so that a resumed or repeated generation makes the same choices on every set of
// operations. NaN counts as the smallest.
int32_t choose_token(std::span<const float> logits, double temperature, double top_p, uint64_t seed,
                     int64_t position);

}  // namespace kvg
