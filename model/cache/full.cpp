#include "model/cache/full.h"

#include "model/cache/slots.h"

#include <algorithm>

namespace kvg {

namespace {

// Small enough that the slack does not show in a comparison of bytes, large enough that growing
// does not show in time.
constexpr int64_t kPageTokens = 64;

int64_t whole_pages(int64_t tokens) {
  return (tokens + kPageTokens - 1) / kPageTokens * kPageTokens;
}

class FullCache : public LayerCache {
 public:
  FullCache(SlotBuffer slots, int layer, int kv_heads, int64_t max_tokens)
      : slots_(std::move(slots)), layer_(layer), kv_heads_(kv_heads), max_tokens_(max_tokens) {}

  void absorb(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks) override {
    const int64_t n = input.k.size(0);
    KVG_CHECK(input.first_position == length_, "positions must follow each other");
    KVG_CHECK(length_ + n <= max_tokens_, "the sequence outgrows its cache");
    reserve(ops, length_ + n);
    ops.store({input.k, input.v, layer_, slots_.store(), length_});
    length_ += n;
    AttentionBlock block{input.row_begin, n, input.first_position, {}};
    AttentionGroup group;
    group.store = slots_.store();
    group.count = length_;
    group.first_position = 0;
    block.groups.push_back(group);
    blocks->push_back(std::move(block));
  }

  void commit(Ops&) override {}

  DecodeCache decode_cache(Ops& ops, int64_t end) override {
    KVG_CHECK(end <= max_tokens_, "the sequence outgrows its cache");
    reserve(ops, end);
    DecodeCache cache;
    cache.recent = slots_.store();
    return cache;
  }
  void decoded(Ops&, int64_t length) override { length_ = length; }

  CacheBytes bytes() const override { return slots_.bytes(); }

  std::unique_ptr<LayerCache> clone(Ops& ops) const override {
    auto copy = std::make_unique<FullCache>(slots_.clone(ops), layer_, kv_heads_, max_tokens_);
    copy->length_ = length_;
    return copy;
  }

 private:
  void reserve(Ops& ops, int64_t tokens) {
    if (tokens <= slots_.capacity()) return;
    SlotBuffer larger(ops, slots_.codec(), kv_heads_, whole_pages(tokens));
    if (length_ > 0) larger.copy_slots(ops, slots_, 0, 0, length_);
    slots_ = std::move(larger);
  }

  SlotBuffer slots_;
  int layer_;
  int kv_heads_;
  int64_t max_tokens_;
  int64_t length_ = 0;
};

class FullPolicy : public Policy {
 public:
  explicit FullPolicy(const CodecSpec& codec) : codec_(codec) {}

  int64_t slots(int64_t tokens) const override { return whole_pages(tokens); }

  CacheBytes bytes_per_layer(const CacheGeometry& geometry, int64_t tokens) const override {
    return SlotBuffer::bytes_for(*Codec::make(codec_, geometry.head_dim), geometry.kv_heads,
                                 whole_pages(tokens));
  }

  std::unique_ptr<LayerCache> make_layer(Ops& ops, const CacheGeometry& geometry, int layer,
                                         int64_t max_tokens) const override {
    SlotBuffer empty(ops, Codec::make(codec_, geometry.head_dim), geometry.kv_heads, 0);
    return std::make_unique<FullCache>(std::move(empty), layer, geometry.kv_heads, max_tokens);
  }

  DecodePlan decode_plan(const CacheGeometry& geometry) const override {
    return plain_decode_plan(geometry);
  }

 private:
  CodecSpec codec_;
};

}  // namespace

std::vector<ArgumentSpec> full_arguments() { return {}; }

std::unique_ptr<Policy> make_full(const Method& method) {
  // Every token is a recent token; the bank is empty.
  return std::make_unique<FullPolicy>(method.window_codec);
}

}  // namespace kvg
