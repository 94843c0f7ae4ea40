#pragma once

#include "kernels/cuda/memory.h"

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

class TableRing;

// A table on the device, for what is issued to its stream before it goes out of scope.
class DeviceTable {
 public:
  DeviceTable() = default;
  ~DeviceTable();
  DeviceTable(DeviceTable&& other) noexcept;
  DeviceTable& operator=(DeviceTable&& other) noexcept;

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  friend class TableRing;
  TableRing* ring_ = nullptr;  // null: nothing to give back
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  cudaStream_t stream_ = nullptr;
};

// Carries tables from the host to the device beside the streams that use them: from page-locked
// memory and by a stream of its own, so that a table has come long before its turn where the host
// is ahead of the device. (A copy in the user's own stream costs that 5 to 15 us.)
//
// Places are given away again in the order in which they were taken, when what used them is done.
// One host thread; the ring outlives its tables.
class TableRing {
 public:
  TableRing() = default;
  ~TableRing();  // after a synchronisation of all streams
  TableRing(const TableRing&) = delete;
  TableRing& operator=(const TableRing&) = delete;

  // `bytes` may go after the return; `stream` waits for the copy. Waits for earlier users where the
  // ring is full. 16-byte aligned; null for no bytes.
  DeviceTable carry(std::span<const std::byte> bytes, cudaStream_t stream);

 private:
  friend class DeviceTable;
  struct Place {
    size_t begin, end;
    cudaEvent_t done;  // of the table's users, recorded when it goes out of scope
    bool in_scope;
  };
  void open();
  // The beginning of `bytes` bytes that nobody uses any more.
  size_t reserve(size_t bytes);
  void give_back(const DeviceTable& table) noexcept;
  cudaEvent_t take_event();

  std::unique_ptr<Stream> copies_;
  cudaEvent_t copied_ = nullptr;
  std::byte* host_ = nullptr;
  std::byte* device_ = nullptr;
  size_t next_ = 0;
  std::deque<Place> places_;  // the oldest first
  std::vector<cudaEvent_t> free_events_;
};

}  // namespace kvg::cuda
