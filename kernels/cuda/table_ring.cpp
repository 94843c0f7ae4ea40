#include "kernels/cuda/table_ring.h"

#include "base/error.h"
#include "kernels/cuda/error.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kvg::cuda {

namespace {

// Tables of some fifty layers of a long prefill.
constexpr size_t kBytes = size_t{8} << 20;

}  // namespace

DeviceTable::~DeviceTable() {
  if (ring_ != nullptr) ring_->give_back(*this);
}

DeviceTable::DeviceTable(DeviceTable&& other) noexcept { *this = std::move(other); }

DeviceTable& DeviceTable::operator=(DeviceTable&& other) noexcept {
  std::swap(ring_, other.ring_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(stream_, other.stream_);
  return *this;
}

TableRing::~TableRing() {
  if (device_ == nullptr) return;
  for (const Place& place : places_) free_events_.push_back(place.done);
  free_events_.push_back(copied_);
  for (const cudaEvent_t event : free_events_) (void)cudaEventDestroy(event);
  (void)cudaFree(device_);
  (void)cudaFreeHost(host_);
}

DeviceTable TableRing::carry(std::span<const std::byte> bytes, cudaStream_t stream) {
  DeviceTable table;
  if (bytes.empty()) return table;
  open();
  if (bytes.size() <= kBytes / 2) {
    const size_t begin = reserve(bytes.size());
    std::memcpy(host_ + begin, bytes.data(), bytes.size());
    table.data_ = device_ + begin;
    KVG_CHECK_CUDA(cudaMemcpyAsync(table.data_, host_ + begin, bytes.size(), cudaMemcpyHostToDevice,
                                   copies_->get()));
    KVG_CHECK_CUDA(cudaEventRecord(copied_, copies_->get()));
    KVG_CHECK_CUDA(cudaStreamWaitEvent(stream, copied_));
    places_.push_back({begin, begin + bytes.size(), take_event(), true});
  } else {
    table.data_ = static_cast<std::byte*>(allocate_async(bytes.size(), stream));
    KVG_CHECK_CUDA(
        cudaMemcpyAsync(table.data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream));
  }
  table.ring_ = this;
  table.bytes_ = bytes.size();
  table.stream_ = stream;
  return table;
}

void TableRing::open() {
  if (device_ != nullptr) return;
  copies_ = std::make_unique<Stream>();
  copied_ = take_event();
  void* memory = nullptr;
  KVG_CHECK_CUDA(cudaMallocHost(&memory, kBytes));
  host_ = static_cast<std::byte*>(memory);
  KVG_CHECK_CUDA(cudaMalloc(&memory, kBytes));
  device_ = static_cast<std::byte*>(memory);
}

size_t TableRing::reserve(size_t bytes) {
  constexpr size_t kAlignment = 16;
  size_t begin = (next_ + kAlignment - 1) / kAlignment * kAlignment;
  if (begin + bytes > kBytes) begin = 0;
  const size_t end = begin + bytes;
  size_t in_the_way = 0;  // places up to the last one that is
  for (size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].begin < end && begin < places_[i].end) in_the_way = i + 1;
  }
  while (!places_.empty()) {
    const cudaEvent_t done = places_.front().done;
    const bool in_scope = places_.front().in_scope;
    if (in_the_way > 0) {
      KVG_CHECK(!in_scope, "a table is kept while the ring goes round");
      KVG_CHECK_CUDA(cudaEventSynchronize(done));
      --in_the_way;
    } else {
      const cudaError_t status = in_scope ? cudaErrorNotReady : cudaEventQuery(done);
      if (status == cudaErrorNotReady) break;
      KVG_CHECK_CUDA(status);
    }
    free_events_.push_back(done);
    places_.pop_front();
  }
  next_ = end;
  return begin;
}

void TableRing::give_back(const DeviceTable& table) noexcept {
  if (table.data_ < device_ || table.data_ >= device_ + kBytes) {
    (void)cudaFreeAsync(table.data_, table.stream_);
    return;
  }
  const auto begin = static_cast<size_t>(table.data_ - device_);
  const auto place = std::find_if(places_.rbegin(), places_.rend(),
                                  [&](const Place& x) { return x.begin == begin; });
  place->in_scope = false;
  (void)cudaEventRecord(place->done, table.stream_);
}

cudaEvent_t TableRing::take_event() {
  if (!free_events_.empty()) {
    const cudaEvent_t event = free_events_.back();
    free_events_.pop_back();
    return event;
  }
  cudaEvent_t event = nullptr;
  KVG_CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}

}  // namespace kvg::cuda
