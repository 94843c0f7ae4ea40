#pragma once

#include "kernels/ops.h"

namespace kvg::reference {

// out[r, o] = bias[o] + sum_i x[r, i] weight[o, i]
template <typename T>
void linear(const LinearParams& p) {
  const int64_t inputs = p.x.size(1);
  for (int64_t row = 0; row < p.x.size(0); ++row) {
    const T* x = p.x.row<T>(row);
    T* out = p.out.row<T>(row);
    for (int64_t o = 0; o < p.weight.size(0); ++o) {
      const T* weight = p.weight.row<T>(o);
      T sum = p.bias ? p.bias.as<T>()[o] : T{0};
      for (int64_t i = 0; i < inputs; ++i) sum += x[i] * weight[i];
      out[o] = sum;
    }
  }
}

}  // namespace kvg::reference
