#pragma once

#include "kernels/codec.h"

namespace kvg {

// Codecs that store every coordinate by itself and do not rotate. A double is rounded to float
// first.
//
// f32, bf16: NaN and infinity are kept. fp8: NaN is kept, what lies beyond +-448 * scale saturates.
// int8: no code is NaN, so a vector with one gets the scale NaN; what lies beyond +-127 * scale
// saturates.

// 4 B a coordinate; exact for float. Stored as CodecKind says.
std::unique_ptr<Codec> make_f32_codec(const CodecSpec& spec, int head_dim);

// 2 B a coordinate, rounded to nearest even.
std::unique_ptr<Codec> make_bf16_codec(const CodecSpec& spec, int head_dim);

// 1 B a coordinate, e4m3. Fp8Scale::vector adds one fp16 scale, absmax/448 rounded up so that
// nothing is clipped; it is at least the smallest fp16, so that tiny vectors survive, and at most
// the largest. The scale of a zero vector is 0.
std::unique_ptr<Codec> make_fp8_codec(const CodecSpec& spec, int head_dim);

// 1 B a coordinate, the integer nearest to x / scale (ties to even) in -127 .. 127 as two's
// complement, and one fp16 scale, absmax/127 rounded up as for fp8: 0 for a zero vector.
std::unique_ptr<Codec> make_int8_codec(const CodecSpec& spec, int head_dim);

}  // namespace kvg
