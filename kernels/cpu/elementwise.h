#pragma once

#include "kernels/cpu/team.h"
#include "kernels/ops.h"
#include "kernels/reference/prepare_heads.h"

// The operations whose cost is reading and writing their rows. Rows are dealt to threads in chunks.
namespace kvg::cpu {

void embed(const EmbedParams& p, Team& team);
void rms_norm(const RmsNormParams& p, Team& team);
void swiglu(const SwigluParams& p, Team& team);
// `theta` is scratch kept between calls.
void prepare_heads(const PrepareHeadsParams& p, Team& team, reference::ThetaTurns<float>& theta);
void store(const StoreParams& p, Team& team);
void load(const LoadParams& p, Team& team);
// The sum of exponentials is formed in double.
void nll(const NllParams& p, Team& team);

}  // namespace kvg::cpu
