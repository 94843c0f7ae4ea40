#pragma once

#include "kernels/codec.h"

namespace kvg {

// Rotation, Gaussian codebook, one fp16 scale a vector: EDEN (Vargaftik et al., ICML 2022, arXiv
// 2108.08842); with bits=1 DRIVE (NeurIPS 2021, arXiv 2105.08339), with scale=s1 TurboQuant_mse
// (arXiv 2504.19874).
//   z = sqrt(d) P x / |x|;  code_j = the cell of z_j;  s = |x| S / sqrt(d);  decoded = s c(z)
// bits * head_dim / 8 + 2 bytes a vector, laid out as in codec_packing.h.
//
// Norms and scales are computed in double and stored in fp16, at most 65504. Vectors:
//   zero      s = 0, decoded as zero
//   |x| overflows double, or a coordinate is infinite or NaN: s = NaN, decoded as NaN throughout,
//   so
//             that a damaged activation cannot pass for a small error
// Throws Error when bits is not 1..4, or for a head_dim that the rotation refuses (rotation.h).
std::unique_ptr<Codec> make_eden_codec(const CodecSpec& spec, int head_dim);

}  // namespace kvg
