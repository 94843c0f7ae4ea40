#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace kvg::cuda {

// Tables one after the other in host memory, each at a multiple of 16 bytes, so that they go to the
// device in one copy (CudaContext::table).
class TableBuffer {
 public:
  // Returns where the table begins.
  template <typename T>
  size_t add(std::span<const T> rows) {
    const size_t offset = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(offset + rows.size_bytes());
    if (!rows.empty()) std::memcpy(bytes_.data() + offset, rows.data(), rows.size_bytes());
    return offset;
  }
  template <typename T>
  size_t add(const std::vector<T>& rows) {
    return add(std::span<const T>(rows));
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace kvg::cuda
