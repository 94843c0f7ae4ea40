#pragma once

#include <functional>

#include <cuda_runtime_api.h>

namespace kvg {

// How a stream waits for the host while work is enqueued, so that the host's pace does not count.
enum class Hold {
  none,
  brief,  // for kBriefSeconds at most: for work that may wait for the device, such as copies
  whole,  // until all of it is enqueued
};

// Times what is enqueued on one stream, by events.
//
// Caveats. What is timed must not wait for the device while the stream is held as a whole, or both
// would wait until the hold gives up (kHoldSeconds). One interval costs about a microsecond: put
// enough work into it.
class GpuTimer {
 public:
  explicit GpuTimer(cudaStream_t stream);
  ~GpuTimer();
  GpuTimer(const GpuTimer&) = delete;
  GpuTimer& operator=(const GpuTimer&) = delete;

  // Seconds that the device takes for what `issue` enqueues.
  double seconds(const std::function<void()>& issue, Hold hold);

  static constexpr double kHoldSeconds = 1, kBriefSeconds = 2e-3;

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  volatile int* released_ = nullptr;  // host memory that the device sees
};

}  // namespace kvg
