#include "kernels/cuda/device.h"

#include "kernels/cuda/error.h"

namespace kvg::cuda {

std::vector<DeviceInfo> devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();  // no driver or no GPU: not an error of the next call
    return {};
  }
  std::vector<DeviceInfo> result;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    KVG_CHECK_CUDA(cudaGetDeviceProperties(&properties, i));
    result.push_back({i, properties.name, properties.major, properties.minor,
                      properties.multiProcessorCount,
                      static_cast<int64_t>(properties.totalGlobalMem), properties.l2CacheSize,
                      static_cast<int64_t>(properties.sharedMemPerBlockOptin)});
  }
  return result;
}

}  // namespace kvg::cuda
