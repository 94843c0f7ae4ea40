#include "kernels/cuda/graph.h"

#include "kernels/cuda/error.h"

namespace kvg::cuda {

namespace {

// Ends the capture whatever happened inside, and leaves no error behind for the next call.
cudaGraph_t end_capture(cudaStream_t stream, cudaError_t& status) {
  cudaGraph_t graph = nullptr;
  status = cudaStreamEndCapture(stream, &graph);
  if (status != cudaSuccess) (void)cudaGetLastError();
  return graph;
}

cudaGraph_t capture(cudaStream_t stream, const std::function<void()>& launches) {
  cudaError_t status = cudaSuccess;
  KVG_CHECK_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  try {
    launches();
  } catch (...) {
    const cudaGraph_t graph = end_capture(stream, status);
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    throw;
  }
  const cudaGraph_t graph = end_capture(stream, status);
  KVG_CHECK_CUDA(status);
  return graph;
}

}  // namespace

Graph::Graph(cudaStream_t stream, const std::function<void()>& launches) {
  const cudaGraph_t graph = capture(stream, launches);
  const cudaError_t made = cudaGraphInstantiate(&executable_, graph, 0);
  (void)cudaGraphDestroy(graph);
  KVG_CHECK_CUDA(made);
  KVG_CHECK_CUDA(cudaGraphUpload(executable_, stream));  // not at the first launch
}

Graph::~Graph() { (void)cudaGraphExecDestroy(executable_); }

void Graph::launch(cudaStream_t stream) const {
  KVG_CHECK_CUDA(cudaGraphLaunch(executable_, stream));
}

}  // namespace kvg::cuda
