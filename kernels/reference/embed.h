#pragma once

#include "kernels/ops.h"

#include <algorithm>

namespace kvg::reference {

// out[r] = table[tokens[r]]
template <typename T>
void embed(const EmbedParams& p) {
  const int32_t* tokens = p.tokens.as<int32_t>();
  for (int64_t row = 0; row < p.tokens.size(0); ++row) {
    std::copy_n(p.table.row<T>(tokens[row]), p.table.size(1), p.out.row<T>(row));
  }
}

}  // namespace kvg::reference
