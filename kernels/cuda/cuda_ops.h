#pragma once

#include "kernels/ops.h"

#include <memory>

namespace kvg {

struct CudaOpsOptions {
  int device = 0;
  // Phases as NVTX ranges for Nsight (domain "kvgauge"); recorded steps are then issued operation
  // by operation, see CudaContext::profile().
  bool ranges = false;
};

// The operations on one NVIDIA GPU (compute capability 8.0 or later): bf16 in memory, fp32
// accumulation. head_dim 64 or 128. Operations are issued in order and return before they are done;
// copy() to host memory, take_ledger() and synchronize() wait. profile() is empty: take_ledger()
// tells where the time goes. For one host thread. Throws Error when there is no such GPU.
std::unique_ptr<Ops> make_cuda_ops(const CudaOpsOptions& options);
std::unique_ptr<Ops> make_cuda_ops(int device = 0);

namespace cuda {
class CudaContext;
}
// What such a set works in, for what joins its stream from outside; null for any other set.
cuda::CudaContext* cuda_context(Ops& ops);

}  // namespace kvg
