#pragma once

#include "bench/latency/forwarding_ops.h"

#include <cstdint>
#include <memory>

namespace kvg {

// Another set of operations that gives out at most `limit` bytes at a time. Buffers may outlive it.
class MemoryLimit : public ForwardingOps {
 public:
  MemoryLimit(Ops& inner, uint64_t limit);

  std::unique_ptr<Buffer> allocate(size_t bytes) override;
  uint64_t available_memory() const override;

 private:
  uint64_t limit_;
  std::shared_ptr<uint64_t> used_;
};

}  // namespace kvg
