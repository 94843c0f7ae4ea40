#pragma once

#include "kernels/ops.h"
#include "model/cache/policy.h"

#include <cstdint>
#include <memory>

namespace kvg {

// The codecs of one group of slots. K and V of one group are stored alike.
using SharedCodec = std::shared_ptr<const Codec>;

// Owned storage of one layer's slots for one sequence: K and V codes and scales, [kv_heads,
// capacity, ...].
class SlotBuffer {
 public:
  SlotBuffer() = default;
  // `scratch`: every slot is written before it is read (Ops::allocate_scratch).
  SlotBuffer(Ops& ops, SharedCodec codec, int kv_heads, int64_t capacity, bool scratch = false);

  SlotStore store() const;
  int64_t capacity() const { return capacity_; }
  const SharedCodec& codec() const { return codec_; }
  CacheBytes bytes() const { return bytes_for(*codec_, kv_heads_, capacity_); }

  // Copies slots (from_slot + i) mod capacity of `from` to (to_slot + i) mod capacity of this, i <
  // count, as stored bytes; both must use the same codec.
  void copy_slots(Ops& ops, const SlotBuffer& from, int64_t from_slot, int64_t to_slot,
                  int64_t count);
  SlotBuffer clone(Ops& ops) const;

  // Copies of this buffer as it is now, `count` of them at most, in one allocation.
  class Snapshots {
   public:
    Snapshots() = default;
    Snapshots(Ops& ops, const SlotBuffer& of, int64_t count);
    SlotStore take(Ops& ops, const SlotBuffer& of);

   private:
    std::unique_ptr<Buffer> memory_;
    size_t used_ = 0;
  };

  static CacheBytes bytes_for(const Codec& codec, int kv_heads, int64_t capacity);

 private:
  SlotStore store_at(void* memory) const;
  size_t allocated() const;

  SharedCodec codec_;
  int kv_heads_ = 0;
  int64_t capacity_ = 0;
  std::unique_ptr<Buffer> memory_;
};

}  // namespace kvg
