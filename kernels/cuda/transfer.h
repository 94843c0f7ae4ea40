#pragma once

#include "kernels/cuda/context.h"
#include "kernels/ops.h"
#include "kernels/tensor.h"

#include <cstddef>
#include <span>

namespace kvg::cuda {

// Ops::upload: elements of a host or device tensor into a device tensor, converted where the types
// differ; host tensors are converted on the host. Host memory may change once this returns.
void upload(CudaContext& context, const Tensor& from, const Tensor& out);

// Ops::upload_all: what lies on the device and needs no conversion takes one launch for every
// kMostCopies of it; the rest goes one after the other.
void upload_all(CudaContext& context, std::span<const UploadParams> uploads);

// Ops::copy: bytes between device and host memory, in stream order; waits when they go to the host.
void copy(CudaContext& context, void* to, const void* from, size_t bytes);

}  // namespace kvg::cuda
