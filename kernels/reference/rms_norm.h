#pragma once

#include "kernels/ops.h"

#include <cmath>

namespace kvg::reference {

// x += delta;  out_i = x_i / sqrt(mean_j(x_j^2) + eps) * weight_i
template <typename T>
void rms_norm(const RmsNormParams& p) {
  const int64_t hidden = p.x.size(1);
  const T* weight = p.weight.as<T>();
  for (int64_t row = 0; row < p.x.size(0); ++row) {
    T* x = p.x.row<T>(row);
    T* out = p.out.row<T>(row);
    if (p.delta) {
      const T* delta = p.delta.row<T>(row);
      for (int64_t i = 0; i < hidden; ++i) x[i] += delta[i];
    }
    T squares = 0;
    for (int64_t i = 0; i < hidden; ++i) squares += x[i] * x[i];
    const T scale = 1 / std::sqrt(squares / static_cast<T>(hidden) + static_cast<T>(p.eps));
    for (int64_t i = 0; i < hidden; ++i) out[i] = x[i] * scale * weight[i];
  }
}

}  // namespace kvg::reference
