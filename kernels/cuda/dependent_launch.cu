#include "kernels/cuda/dependent_launch.h"

namespace kvg::cuda {

namespace {

__global__ void probe_kernel() {}

}  // namespace

bool runs_sm90_code() {
  static const bool kRuns = [] {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, probe_kernel) == cudaSuccess &&
           attributes.ptxVersion >= 90;
  }();
  return kRuns;
}

}  // namespace kvg::cuda
