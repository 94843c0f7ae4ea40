#include "kernels/host_buffer.h"

#include "base/error.h"
#include "base/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace kvg {
namespace {

class HostBuffer : public Buffer {
 public:
  HostBuffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  ~HostBuffer() override { std::free(data_); }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  void* data() const override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  void* data_;
  size_t bytes_;
};

}  // namespace

std::unique_ptr<Buffer> allocate_host(size_t bytes) {
  constexpr size_t kAlignment = 64;
  constexpr size_t kAlwaysTried = size_t{16} << 20;  // asking the system for less only costs time
  if (bytes > kAlwaysTried) require_memory("buffer", bytes);
  const size_t rounded = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, rounded);
  if (data == nullptr) {
    throw Error("buffer", "memory", format_bytes(bytes) + " needed", "a system that grants it");
  }
  std::memset(data, 0, rounded);
  return std::make_unique<HostBuffer>(data, bytes);
}

}  // namespace kvg
