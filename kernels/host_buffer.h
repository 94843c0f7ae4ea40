#pragma once

#include "kernels/ops.h"

#include <cstddef>
#include <memory>

namespace kvg {

// Zero-filled, 64-byte aligned host memory, resident on return: Linux would otherwise grant more
// than there is and kill the process at the first touch. Throws Error with what is needed and what
// is available when it does not fit.
std::unique_ptr<Buffer> allocate_host(size_t bytes);

}  // namespace kvg
