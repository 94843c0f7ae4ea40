#include "bench/latency/memory_limit.h"

#include "base/error.h"
#include "base/memory.h"

#include <algorithm>

namespace kvg {

namespace {

class CountedBuffer : public Buffer {
 public:
  CountedBuffer(std::unique_ptr<Buffer> inner, std::shared_ptr<uint64_t> used)
      : inner_(std::move(inner)), used_(std::move(used)) {
    *used_ += inner_->bytes();
  }
  ~CountedBuffer() override { *used_ -= inner_->bytes(); }
  void* data() const override { return inner_->data(); }
  size_t bytes() const override { return inner_->bytes(); }

 private:
  std::unique_ptr<Buffer> inner_;
  std::shared_ptr<uint64_t> used_;
};

}  // namespace

MemoryLimit::MemoryLimit(Ops& inner, uint64_t limit)
    : ForwardingOps(inner), limit_(limit), used_(std::make_shared<uint64_t>(0)) {}

std::unique_ptr<Buffer> MemoryLimit::allocate(size_t bytes) {
  if (*used_ + bytes > limit_) {
    throw Error("memory limit", "", format_bytes(bytes) + " more needed",
                "at most " + format_bytes(limit_ - *used_));
  }
  return std::make_unique<CountedBuffer>(inner_.allocate(bytes), used_);
}

uint64_t MemoryLimit::available_memory() const {
  return std::min(inner_.available_memory(), limit_ - *used_);
}

}  // namespace kvg
