#include "model/cache/slots.h"

#include <algorithm>

namespace kvg {

namespace {

// Offsets of the four arrays in one allocation, each aligned to 64 bytes.
struct Layout {
  size_t v_codes, k_scales, v_scales, total;
};

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

Layout layout_of(const Codec& codec, int kv_heads, int64_t capacity) {
  const auto slots = static_cast<size_t>(kv_heads * capacity);
  const size_t codes = aligned(slots * static_cast<size_t>(codec.code_bytes()));
  const size_t scales = aligned(slots * static_cast<size_t>(codec.scale_bytes()));
  return {codes, 2 * codes, 2 * codes + scales, 2 * codes + 2 * scales};
}

}  // namespace

SlotBuffer::SlotBuffer(Ops& ops, SharedCodec codec, int kv_heads, int64_t capacity, bool scratch)
    : codec_(std::move(codec)), kv_heads_(kv_heads), capacity_(capacity) {
  KVG_CHECK(kv_heads > 0 && capacity >= 0, "slot buffer shape");
  const size_t bytes = layout_of(*codec_, kv_heads, capacity).total;
  memory_ = scratch ? ops.allocate_scratch(bytes) : ops.allocate(bytes);
}

size_t SlotBuffer::allocated() const { return layout_of(*codec_, kv_heads_, capacity_).total; }

SlotStore SlotBuffer::store() const {
  KVG_CHECK(codec_ != nullptr, "an empty slot buffer has no store");
  return store_at(memory_->data());
}

SlotStore SlotBuffer::store_at(void* memory) const {
  const Layout layout = layout_of(*codec_, kv_heads_, capacity_);
  auto* base = static_cast<uint8_t*>(memory);
  SlotStore store;
  store.k_codec = codec_.get();
  store.v_codec = codec_.get();
  store.capacity = capacity_;
  store.k_codes = base;
  store.v_codes = base + layout.v_codes;
  if (codec_->scale_bytes() > 0) {
    store.k_scales = reinterpret_cast<uint16_t*>(base + layout.k_scales);
    store.v_scales = reinterpret_cast<uint16_t*>(base + layout.v_scales);
  }
  return store;
}

void SlotBuffer::copy_slots(Ops& ops, const SlotBuffer& from, int64_t from_slot, int64_t to_slot,
                            int64_t count) {
  ops.copy_slots({from.store(), store(), kv_heads_, from_slot, to_slot, count});
}

SlotBuffer SlotBuffer::clone(Ops& ops) const {
  SlotBuffer copy(ops, codec_, kv_heads_, capacity_);
  ops.copy(copy.memory_->data(), memory_->data(), allocated());
  return copy;
}

SlotBuffer::Snapshots::Snapshots(Ops& ops, const SlotBuffer& of, int64_t count)
    : memory_(ops.allocate(of.allocated() * static_cast<size_t>(count))) {}

SlotStore SlotBuffer::Snapshots::take(Ops& ops, const SlotBuffer& of) {
  KVG_CHECK(memory_ != nullptr && used_ + of.allocated() <= memory_->bytes(), "snapshots planned");
  void* at = static_cast<uint8_t*>(memory_->data()) + used_;
  ops.copy(at, of.memory_->data(), of.allocated());
  used_ += of.allocated();
  return of.store_at(at);
}

CacheBytes SlotBuffer::bytes_for(const Codec& codec, int kv_heads, int64_t capacity) {
  CacheBytes bytes;
  bytes.keys = kv_heads * capacity * codec.code_bytes();
  bytes.values = bytes.keys;
  bytes.scales = 2 * kv_heads * capacity * codec.scale_bytes();
  return bytes;
}

}  // namespace kvg
