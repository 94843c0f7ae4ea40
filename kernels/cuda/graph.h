#pragma once

#include <functional>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// What a function launches on a stream, as a CUDA graph. Nothing runs until launch().
class Graph {
 public:
  // Captures `launches`, which may only launch on `stream`: no allocation, no synchronisation. If
  // it throws, or does what cannot be captured, the stream is as before and the error is thrown.
  Graph(cudaStream_t stream, const std::function<void()>& launches);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(cudaStream_t stream) const;

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace kvg::cuda
