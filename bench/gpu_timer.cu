#include "bench/gpu_timer.h"
#include "kernels/cuda/error.h"

namespace kvg {

namespace {

__device__ unsigned long long nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

// Occupies the stream until the host releases it, or for as long as nothing should take.
__global__ void hold_kernel(volatile int* released, unsigned long long longest) {
  const unsigned long long begin = nanoseconds();
  while (*released == 0 && nanoseconds() - begin < longest) __nanosleep(200);
}

}  // namespace

GpuTimer::GpuTimer(cudaStream_t stream) : stream_(stream) {
  KVG_CHECK_CUDA(cudaEventCreate(&begin_));
  KVG_CHECK_CUDA(cudaEventCreate(&end_));
  void* released = nullptr;
  KVG_CHECK_CUDA(cudaHostAlloc(&released, sizeof(int), cudaHostAllocMapped));
  released_ = static_cast<volatile int*>(released);
}

GpuTimer::~GpuTimer() {
  (void)cudaEventDestroy(begin_);
  (void)cudaEventDestroy(end_);
  (void)cudaFreeHost(const_cast<int*>(released_));
}

double GpuTimer::seconds(const std::function<void()>& issue, Hold hold) {
  *released_ = 0;
  if (hold != Hold::none) {
    const double longest = hold == Hold::brief ? kBriefSeconds : kHoldSeconds;
    hold_kernel<<<1, 1, 0, stream_>>>(released_, static_cast<unsigned long long>(longest * 1e9));
    KVG_CHECK_CUDA(cudaGetLastError());
  }
  KVG_CHECK_CUDA(cudaEventRecord(begin_, stream_));
  issue();
  KVG_CHECK_CUDA(cudaEventRecord(end_, stream_));
  *released_ = 1;
  KVG_CHECK_CUDA(cudaEventSynchronize(end_));
  float milliseconds = 0;
  KVG_CHECK_CUDA(cudaEventElapsedTime(&milliseconds, begin_, end_));
  return static_cast<double>(milliseconds) * 1e-3;
}

}  // namespace kvg
