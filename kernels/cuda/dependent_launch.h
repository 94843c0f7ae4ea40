#pragma once

#include <utility>

#include <cuda_runtime.h>

// Launches that overlap the one before them in the stream (dependent_launch.cuh).
namespace kvg::cuda {

// Whether the kernels that the current device would run are code for compute capability 9.0, on
// such a device: they have clusters, and wait for the launch before them by themselves. Asked once.
bool runs_sm90_code();

// A kernel that may start while the launch before it still runs. Until wait_for_previous_launch()
// it reads only what was complete before the last launch that did not overlap, and writes nothing;
// every block that does anything calls it.
template <typename... Params, typename... Args>
cudaError_t launch_overlapping(void (*kernel)(Params...), dim3 grid, dim3 block,
                               cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = runs_sm90_code() ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
}

}  // namespace kvg::cuda
