#pragma once

#include "kernels/ops.h"

#include <algorithm>
#include <cmath>

namespace kvg::reference {

// nll = log(sum_v exp(logits[v])) - logits[target], shifted by the largest logit against overflow
template <typename T>
void nll(const NllParams& p) {
  const int64_t vocab = p.logits.size(1);
  const int32_t* targets = p.targets.as<int32_t>();
  for (int64_t row = 0; row < p.logits.size(0); ++row) {
    const T* logits = p.logits.row<T>(row);
    const double largest = *std::max_element(logits, logits + vocab);
    double sum = 0;
    for (int64_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(logits[v]) - largest);
    p.nll.as<double>()[row] = largest + std::log(sum) - logits[targets[row]];
  }
}

}  // namespace kvg::reference
