#pragma once

#include "kernels/ops.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kvg::reference {

// The half of a SlotStore that holds K (or V) of one KV head.
struct SlotArray {
  const Codec* codec;
  uint8_t* codes;
  uint16_t* scales;  // null when the codec has none
  int64_t capacity;
};

inline SlotArray slot_array(const SlotStore& store, int64_t kv_head, bool value) {
  const Codec* codec = value ? store.v_codec : store.k_codec;
  uint8_t* codes = value ? store.v_codes : store.k_codes;
  uint16_t* scales = value ? store.v_scales : store.k_scales;
  const int64_t before = kv_head * store.capacity;
  return {codec, codes + before * codec->code_bytes(), scales ? scales + before : nullptr,
          store.capacity};
}

// Calls function(slot, offset, n) for the one or two runs of consecutive slots that make up
// (first_slot + offset) mod capacity, offset = 0..count-1.
template <typename Function>
void for_each_run(int64_t first_slot, int64_t count, int64_t capacity, Function function) {
  for (int64_t offset = 0; offset < count;) {
    const int64_t slot = (first_slot + offset) % capacity;
    const int64_t n = std::min(count - offset, capacity - slot);
    function(slot, offset, n);
    offset += n;
  }
}

// x [count, head_dim] -> slots
template <typename T>
void encode_slots(const SlotArray& slots, const CodecSite& site, int64_t first_slot, int64_t count,
                  const T* x) {
  for_each_run(first_slot, count, slots.capacity, [&](int64_t slot, int64_t offset, int64_t n) {
    slots.codec->encode(site, x + offset * slots.codec->head_dim(), n,
                        slots.codes + slot * slots.codec->code_bytes(),
                        slots.scales ? slots.scales + slot : nullptr);
  });
}

// slots -> out [count, head_dim], in the codec's frame
template <typename T>
void decode_slots(const SlotArray& slots, int64_t first_slot, int64_t count, T* out) {
  for_each_run(first_slot, count, slots.capacity, [&](int64_t slot, int64_t offset, int64_t n) {
    slots.codec->decode(slots.codes + slot * slots.codec->code_bytes(),
                        slots.scales ? slots.scales + slot : nullptr, n,
                        out + offset * slots.codec->head_dim());
  });
}

// Rows [begin, begin + count) of one head of x [rows, heads, head_dim], and back. `scratch` holds
// [count, head_dim].
template <typename T>
void store_rows(const SlotArray& slots, const CodecSite& site, int64_t first_slot, const Tensor& x,
                int64_t begin, int64_t count, T* scratch) {
  const int64_t head_dim = x.size(2);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(x.row<T>(begin + i) + site.kv_head * head_dim, head_dim, scratch + i * head_dim);
  }
  encode_slots(slots, site, first_slot + begin, count, scratch);
}

template <typename T>
void load_rows(const SlotArray& slots, const CodecSite& site, int64_t first_slot, const Tensor& x,
               int64_t begin, int64_t count, T* scratch) {
  const int64_t head_dim = x.size(2);
  decode_slots(slots, first_slot + begin, count, scratch);
  if (slots.codec->rotates()) slots.codec->from_frame(site, scratch, count);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(scratch + i * head_dim, head_dim, x.row<T>(begin + i) + site.kv_head * head_dim);
  }
}

// Encode rows of K and V into slots (StoreParams).
template <typename T>
void store(const StoreParams& p) {
  const int64_t rows = p.k.size(0);
  if (rows == 0) return;
  std::vector<T> scratch(static_cast<size_t>(rows * p.k.size(2)));
  for (int32_t head = 0; head < p.k.size(1); ++head) {
    for (const bool value : {false, true}) {
      store_rows(slot_array(p.store, head, value), CodecSite{p.layer, head, value}, p.first_slot,
                 value ? p.v : p.k, 0, rows, scratch.data());
    }
  }
}

// Decode slots into rows of K and V, back in the original frame (LoadParams).
template <typename T>
void load(const LoadParams& p) {
  const int64_t rows = p.k.size(0);
  if (rows == 0) return;
  std::vector<T> scratch(static_cast<size_t>(rows * p.k.size(2)));
  for (int32_t head = 0; head < p.k.size(1); ++head) {
    for (const bool value : {false, true}) {
      load_rows(slot_array(p.store, head, value), CodecSite{p.layer, head, value}, p.first_slot,
                value ? p.v : p.k, 0, rows, scratch.data());
    }
  }
}

// Slots of one store to another as stored bytes (CopySlotsParams).
inline void copy_slots(const CopySlotsParams& p) {
  for (int64_t head = 0; head < p.kv_heads; ++head) {
    for (const bool value : {false, true}) {
      const SlotArray from = slot_array(p.from, head, value);
      const SlotArray to = slot_array(p.to, head, value);
      const int64_t width = from.codec->code_bytes();
      for (int64_t i = 0; i < p.count; ++i) {
        const int64_t source = (p.from_slot + i) % from.capacity;
        const int64_t target = (p.to_slot + i) % to.capacity;
        std::copy_n(from.codes + source * width, width, to.codes + target * width);
        if (from.scales != nullptr) to.scales[target] = from.scales[source];
      }
    }
  }
}

}  // namespace kvg::reference
