#pragma once

#include "kernels/ops.h"

#include <cmath>

namespace kvg::reference {

// out = silu(gate) * up;  silu(g) = g / (1 + exp(-g))
template <typename T>
void swiglu(const SwigluParams& p) {
  const int64_t ffn = p.out.size(1);
  for (int64_t row = 0; row < p.out.size(0); ++row) {
    const T* gate = p.gate_up.row<T>(row);
    const T* up = gate + ffn;
    T* out = p.out.row<T>(row);
    for (int64_t i = 0; i < ffn; ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  }
}

}  // namespace kvg::reference
