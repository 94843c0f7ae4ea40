#pragma once

#include "kernels/cpu/team.h"
#include "kernels/ops.h"

namespace kvg::cpu {

// out = x W^T (+ bias). Cut into tiles of rows and output columns; FLOPs: 2 * rows * in * out.
void linear(const LinearParams& p, Team& team);

}  // namespace kvg::cpu
