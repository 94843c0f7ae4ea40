#pragma once

#include "kernels/codec.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace kvg {

// Stores only the coordinates `dims` (ascending) of a vector, as f32 or bf16; the others decode as
// zero. The keys of the summary bank are such vectors (kernels/landmark.h), so half of their bytes
// need not be kept. spec() tells the type of the coordinates; no method names this codec.
std::unique_ptr<Codec> make_band_codec(CodecKind kind, int head_dim, std::vector<int32_t> dims);

// The coordinates that such a codec stores, valid while it lives; empty for every other codec.
std::span<const int32_t> band_of(const Codec& codec);

// Whether vectors are stored whole, as bf16.
bool is_plain_bf16(const Codec& codec);

}  // namespace kvg
