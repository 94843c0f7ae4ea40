#pragma once

#include "kernels/ops.h"

namespace kvg {

// Preconditions of every operation (shapes, types, parts that come together), shared by the sets;
// what is in memory is looked at only where the host can. A violation is a mistake of the caller:
// KVG_CHECK. `scalar` is the type of activations and weights.
void check(const EmbedParams& p, DType scalar);
void check(const RmsNormParams& p, DType scalar);
void check(const LinearParams& p, DType scalar);
void check(const SwigluParams& p, DType scalar);
void check(const GatedLinearParams& p, DType scalar);
void check(const PrepareHeadsParams& p, DType scalar);
void check(const StoreParams& p, DType scalar);
void check(const LoadParams& p, DType scalar);
void check(const CopySlotsParams& p);
void check(const AttentionParams& p, DType scalar);
void check(const NllParams& p, DType scalar);

}  // namespace kvg
