#pragma once

#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace kvg::cuda {

// The operations of kernels/ops.h on K and V in slots: one launch each.
void store(CudaContext& context, const StoreParams& params);
void load(CudaContext& context, const LoadParams& params);
void copy_slots(CudaContext& context, const CopySlotsParams& params);

}  // namespace kvg::cuda
