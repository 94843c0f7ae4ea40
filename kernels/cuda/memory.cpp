#include "kernels/cuda/memory.h"

#include "base/error.h"
#include "base/memory.h"
#include "kernels/cuda/error.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace kvg::cuda {

namespace {

// Lazily loaded kernels, graphs and the libraries' own workspaces.
constexpr uint64_t kReserve = uint64_t{512} << 20;

cudaMemPool_t default_pool(int device) {
  cudaMemPool_t pool = nullptr;
  KVG_CHECK_CUDA(cudaDeviceGetDefaultMemPool(&pool, device));
  return pool;
}

uint64_t unused_in_pool(int device) {
  const cudaMemPool_t pool = default_pool(device);
  uint64_t reserved = 0, used = 0;
  KVG_CHECK_CUDA(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved));
  KVG_CHECK_CUDA(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used));
  return reserved - std::min(used, reserved);
}

class AsyncBuffer : public Buffer {
 public:
  AsyncBuffer(size_t bytes, std::shared_ptr<Stream> stream)
      : stream_(std::move(stream)), data_(allocate_async(bytes, stream_->get())), bytes_(bytes) {}
  ~AsyncBuffer() override { (void)cudaFreeAsync(data_, stream_->get()); }
  AsyncBuffer(const AsyncBuffer&) = delete;
  AsyncBuffer& operator=(const AsyncBuffer&) = delete;
  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  std::shared_ptr<Stream> stream_;
  void* data_;
  size_t bytes_;
};

}  // namespace

Stream::Stream(bool urgent) {
  int least = 0, greatest = 0;
  KVG_CHECK_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  KVG_CHECK_CUDA(
      cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, urgent ? greatest : least));
}
Stream::~Stream() { (void)cudaStreamDestroy(stream_); }

void keep_freed_memory(int device) {
  uint64_t threshold = std::numeric_limits<uint64_t>::max();
  KVG_CHECK_CUDA(
      cudaMemPoolSetAttribute(default_pool(device), cudaMemPoolAttrReleaseThreshold, &threshold));
}

void* allocate_async(size_t bytes, cudaStream_t stream) {
  const size_t size = std::max<size_t>(bytes, 1);
  void* data = nullptr;
  cudaError_t status = cudaMallocAsync(&data, size, stream);
  int device = 0;
  if (status == cudaErrorMemoryAllocation) {
    // What the pool holds in pieces of other sizes may do once it is given back.
    (void)cudaGetLastError();
    KVG_CHECK_CUDA(cudaStreamSynchronize(stream));
    KVG_CHECK_CUDA(cudaGetDevice(&device));
    KVG_CHECK_CUDA(cudaMemPoolTrimTo(default_pool(device), 0));
    status = cudaMallocAsync(&data, size, stream);
  }
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    throw Error("GPU buffer", "memory", format_bytes(bytes) + " needed",
                "at most " + format_bytes(available_memory(device)) + " (what is free)");
  }
  KVG_CHECK_CUDA(status);
  return data;
}

std::unique_ptr<Buffer> allocate_scratch_buffer(size_t bytes, std::shared_ptr<Stream> stream) {
  return std::make_unique<AsyncBuffer>(bytes, std::move(stream));
}

std::unique_ptr<Buffer> allocate_buffer(size_t bytes, std::shared_ptr<Stream> stream) {
  auto buffer = std::make_unique<AsyncBuffer>(bytes, stream);
  KVG_CHECK_CUDA(cudaMemsetAsync(buffer->data(), 0, bytes, stream->get()));
  return buffer;
}

uint64_t available_memory(int device) {
  size_t free = 0, total = 0;
  KVG_CHECK_CUDA(cudaMemGetInfo(&free, &total));
  return free - std::min<uint64_t>(free, kReserve) + unused_in_pool(device);
}

}  // namespace kvg::cuda
