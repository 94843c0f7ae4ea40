#pragma once

#include "kernels/ops.h"

#include <cstddef>
#include <cstdint>
#include <memory>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// A stream that does not wait for the default one; what an urgent one launches comes before what
// others have waiting.
class Stream {
 public:
  explicit Stream(bool urgent = false);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Makes the device's pool keep what is freed, so that allocating it again costs no call to the
// system. For the process.
void keep_freed_memory(int device);

// Memory from the pool of the stream's device, in stream order, 256-byte aligned, not initialised;
// freed by cudaFreeAsync. Throws Error (with the size) when there is not enough.
void* allocate_async(size_t bytes, cudaStream_t stream);

// The same, zero-filled, freed in stream order with the buffer, which keeps the stream.
std::unique_ptr<Buffer> allocate_buffer(size_t bytes, std::shared_ptr<Stream> stream);
std::unique_ptr<Buffer> allocate_scratch_buffer(size_t bytes,
                                                std::shared_ptr<Stream> stream);  // not initialised

// What allocate_async() can still give: what is free, but for a reserve that the driver, the
// libraries and fragmentation take, and what the pool holds unused.
uint64_t available_memory(int device);

}  // namespace kvg::cuda
