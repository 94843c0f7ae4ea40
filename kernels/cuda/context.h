#pragma once

#include "kernels/codec.h"
#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/table_ring.h"
#include "kernels/ops.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// Device memory for the operations in flight: freed in stream order, so it may go out of scope
// right after the launch that uses it.
class Scratch {
 public:
  Scratch() = default;
  Scratch(size_t bytes, cudaStream_t stream);  // not initialised
  ~Scratch();
  Scratch(Scratch&& other) noexcept;
  Scratch& operator=(Scratch&& other) noexcept;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  cudaStream_t stream_ = nullptr;
};

// What the parts of the CUDA set share: one stream, the descriptors of codecs, scratch, and the
// account of what launches declare. One host thread.
class CudaContext {
 public:
  explicit CudaContext(int device = 0);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  cudaStream_t stream() const;
  const DeviceInfo& device() const;
  int compute_capability() const;  // 90 for 9.0

  // Zero-filled; may outlive the context. Throws Error (with the size) when there is not enough.
  std::unique_ptr<Buffer> allocate(size_t bytes);
  std::unique_ptr<Buffer> allocate_scratch(size_t bytes);  // not initialised
  uint64_t available_memory() const;                       // that allocate() can still give
  // Waits until everything issued is done.
  void synchronize();

  // The descriptor of a codec, kept while the codec lives elsewhere; equal specs share tables.
  // `layer` is the highest layer it is asked for: a haar rotation has a matrix a site.
  const DeviceCodec& codec(const Codec& codec, int32_t layer, int kv_heads);
  DeviceSlots slots(const SlotStore& store, int32_t layer, int kv_heads);

  // Two counters that are zero whenever no kernel runs: kernels that draw their work leave them so.
  int32_t* work_counter();

  // Neither is allowed while a step is being recorded.
  Scratch scratch(size_t bytes);
  // A host table on the device, for what comes next in stream() or one that begin_beside() gave.
  template <typename T>
  DeviceTable table(std::span<const T> rows) {
    return table(std::as_bytes(rows), stream());
  }
  DeviceTable table(std::span<const std::byte> bytes, cudaStream_t stream);

  // Long work on few multiprocessors beside stream(), urgent: it begins while stream() has work
  // under way. begin_beside() gives a stream that waits for all that was issued to stream(), a few
  // in turns, so that what belongs to several sequences runs side by side; end_beside() closes what
  // belongs to `layer`; wait_beside() makes stream() wait for it, which counts as Phase::bank, and
  // returns into `phase`.
  cudaStream_t begin_beside();
  void end_beside(int layer);
  void wait_beside(int layer, Phase phase);
  // Multiprocessors that work holds beside stream() which that has not waited for, at most.
  int multiprocessors_beside() const;

  // Every launch says the least bytes it must move and the FLOPs it does; they are added to the
  // phase in progress.
  void declare(int64_t bytes, int64_t flops);

  void phase(Phase phase, int layer);
  void trace(const TraceOptions& options);
  PhaseLedger take_ledger();
  // What a timed interval without work takes in a recorded step: the least of a ledger's seconds
  // that is the timing itself. Between kernels it is more, because the next one no longer starts
  // while the last one ends: 2.1 to 2.6 us against 1.3 on an H200. Measured at the first call.
  double empty_interval_seconds();
  // Shows phases to Nsight as NVTX ranges (domain "kvgauge"). Steps recorded from then on are no
  // graphs, but issued operation by operation, so that their kernels lie in the ranges.
  void profile(bool on);

  // While recording, launches go into a graph. A recording must not outlive the context.
  bool recording() const;
  std::unique_ptr<Recording> record(const std::function<void()>& step);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvg::cuda
