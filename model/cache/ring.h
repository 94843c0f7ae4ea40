#pragma once

#include "model/cache/slots.h"

#include <cstdint>

namespace kvg {

// The most recent tokens of a sequence, in a ring of encoded slots: position p lives in slot
// (p - origin) mod capacity, where `origin` is the first position that ever enters the ring.
//
// One token is written in place. Several (prefill) go through a linear copy of ring and new tokens,
// so that every new token can still read what the ring will drop by the end of the call; settle()
// then brings the last ones back.
class Ring {
 public:
  Ring(Ops& ops, SharedCodec codec, int kv_heads, int64_t capacity, int64_t origin = 0);

  // Takes in tokens [first_position, first_position + n); returns their readable store as a group
  // that starts at the oldest position still held (at most capacity - 1 before the first new one)
  // and ends at the newest. With `whole`, several tokens leave even the oldest of a full ring
  // readable until settle().
  AttentionGroup append(Ops& ops, int layer, const Tensor& k, const Tensor& v,
                        int64_t first_position, bool whole = false);
  // Ends the call: scratch is released.
  void settle(Ops& ops);

  // The buffer and slot in which `position` can be found until settle().
  const SlotBuffer& buffer() const { return scratch_in_use_ ? scratch_ : ring_; }
  int64_t slot_of(int64_t position) const;

  int64_t end_position() const { return end_; }
  // For decode steps, which write the ring's slots themselves: where they are, and the position
  // after the newest token, once they are done.
  SlotStore store() const { return ring_.store(); }
  void written_to(int64_t end);
  CacheBytes bytes() const { return ring_.bytes(); }
  Ring clone(Ops& ops) const;

 private:
  Ring() = default;
  int64_t ring_slot(int64_t position) const { return (position - origin_) % ring_.capacity(); }

  SlotBuffer ring_;
  SlotBuffer scratch_;
  bool scratch_in_use_ = false;
  int64_t scratch_first_ = 0;  // position in slot 0 of the scratch
  int64_t origin_ = 0;
  int64_t end_ = 0;  // position after the newest
  int kv_heads_ = 0;
};

}  // namespace kvg
