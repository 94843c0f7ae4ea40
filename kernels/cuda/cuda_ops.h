#pragma once

#include "kernels/ops.h"

#include <memory>

namespace kvg {

// The operations on one NVIDIA GPU (compute capability 8.0 or later): bf16 in memory, fp32
// accumulation. head_dim 64 or 128. Throws Error when there is no such GPU.
std::unique_ptr<Ops> make_cuda_ops(int device = 0);

}  // namespace kvg
