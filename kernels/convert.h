#pragma once

#include "kernels/tensor.h"

namespace kvg {

// Copies the elements of one host tensor into another of the same number of elements, converting
// between f64, f32, f16 and bf16 (rounding to nearest even), or copying equal types as they are.
// Throws Error when no such conversion exists.
void convert(const Tensor& from, const Tensor& to);

}  // namespace kvg
