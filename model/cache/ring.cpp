#include "model/cache/ring.h"

#include <algorithm>

namespace kvg {

Ring::Ring(Ops& ops, SharedCodec codec, int kv_heads, int64_t capacity, int64_t origin)
    : ring_(ops, std::move(codec), kv_heads, capacity),
      origin_(origin),
      end_(origin),
      kv_heads_(kv_heads) {
  KVG_CHECK(capacity > 0, "a ring needs a slot");
}

AttentionGroup Ring::append(Ops& ops, int layer, const Tensor& k, const Tensor& v,
                            int64_t first_position, bool whole) {
  KVG_CHECK(!scratch_in_use_, "append() before settle()");
  KVG_CHECK(first_position == end_, "positions must follow each other");
  const int64_t n = k.size(0);
  const int64_t capacity = ring_.capacity();
  AttentionGroup group;
  StoreParams store{k, v, layer, {}, 0};
  if (n == 1) {
    store.store = ring_.store();
    store.first_slot = ring_slot(first_position);
    ops.store(store);
    end_ += 1;
    group.count = std::min(capacity, end_ - origin_);
    group.first_position = end_ - group.count;
    group.first_slot = ring_slot(group.first_position);
    group.store = ring_.store();
    return group;
  }
  const int64_t old = std::min(capacity - (whole ? 0 : 1), end_ - origin_);
  scratch_ = SlotBuffer(ops, ring_.codec(), kv_heads_, old + n, /*scratch=*/true);
  scratch_in_use_ = true;
  scratch_first_ = end_ - old;
  if (old > 0) scratch_.copy_slots(ops, ring_, ring_slot(scratch_first_), 0, old);
  store.store = scratch_.store();
  store.first_slot = old;
  ops.store(store);
  end_ += n;
  group.store = scratch_.store();
  group.first_slot = 0;
  group.count = old + n;
  group.first_position = scratch_first_;
  return group;
}

void Ring::settle(Ops& ops) {
  if (!scratch_in_use_) return;
  const int64_t keep = std::min(ring_.capacity(), end_ - scratch_first_);
  const int64_t first = end_ - keep;
  ring_.copy_slots(ops, scratch_, first - scratch_first_, ring_slot(first), keep);
  scratch_ = SlotBuffer();
  scratch_in_use_ = false;
}

void Ring::written_to(int64_t end) {
  KVG_CHECK(!scratch_in_use_ && end >= end_, "a ring only moves on, between calls");
  end_ = end;
}

int64_t Ring::slot_of(int64_t position) const {
  return scratch_in_use_ ? position - scratch_first_ : ring_slot(position);
}

Ring Ring::clone(Ops& ops) const {
  KVG_CHECK(!scratch_in_use_, "clone() inside a call");
  Ring copy;
  copy.ring_ = ring_.clone(ops);
  copy.origin_ = origin_;
  copy.end_ = end_;
  copy.kv_heads_ = kv_heads_;
  return copy;
}

}  // namespace kvg
