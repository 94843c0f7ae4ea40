#include "model/cache/window.h"

#include "model/cache/ring.h"

#include <algorithm>

namespace kvg {

namespace {

// A window is sinks with none of them, so both policies share one cache.
struct WindowShape {
  int64_t sinks = 0;
  int64_t window = 0;
};

class WindowCache : public LayerCache {
 public:
  WindowCache(SlotBuffer sinks, Ring ring, int layer, WindowShape shape)
      : sinks_(std::move(sinks)), ring_(std::move(ring)), layer_(layer), shape_(shape) {}

  void absorb(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks) override {
    const int64_t n = input.k.size(0);
    const int64_t first = input.first_position;
    const int64_t to_sinks = std::clamp<int64_t>(shape_.sinks - first, 0, n);
    AttentionBlock block{input.row_begin, n, first, {}};
    if (to_sinks > 0) {
      ops.store(
          {input.k.rows(0, to_sinks), input.v.rows(0, to_sinks), layer_, sinks_.store(), first});
    }
    if (shape_.sinks > 0) {
      AttentionGroup group;
      group.store = sinks_.store();
      group.count = std::min(shape_.sinks, first + n);
      group.first_position = 0;
      group.query_frame = 1;
      block.groups.push_back(group);
    }
    if (n > to_sinks) {
      AttentionGroup group = ring_.append(ops, layer_, input.k.rows(to_sinks, n - to_sinks),
                                          input.v.rows(to_sinks, n - to_sinks), first + to_sinks);
      group.window = shape_.window;
      block.groups.push_back(group);
    }
    blocks->push_back(std::move(block));
  }

  void commit(Ops& ops) override { ring_.settle(ops); }

  DecodeCache decode_cache(Ops&, int64_t) override {
    DecodeCache cache;
    cache.recent = ring_.store();
    if (shape_.sinks > 0) cache.sinks = sinks_.store();
    return cache;
  }
  void decoded(Ops&, int64_t length) override { ring_.written_to(std::max(shape_.sinks, length)); }

  CacheBytes bytes() const override {
    CacheBytes bytes = ring_.bytes();
    if (shape_.sinks > 0) bytes += sinks_.bytes();
    return bytes;
  }

  std::unique_ptr<LayerCache> clone(Ops& ops) const override {
    return std::make_unique<WindowCache>(shape_.sinks > 0 ? sinks_.clone(ops) : SlotBuffer(),
                                         ring_.clone(ops), layer_, shape_);
  }

 private:
  SlotBuffer sinks_;
  Ring ring_;
  int layer_;
  WindowShape shape_;
};

class WindowPolicy : public Policy {
 public:
  WindowPolicy(const Method& method, WindowShape shape)
      : window_codec_(method.window_codec), bank_codec_(method.bank_codec), shape_(shape) {}

  int64_t slots(int64_t) const override { return shape_.sinks + shape_.window; }

  CacheBytes bytes_per_layer(const CacheGeometry& geometry, int64_t) const override {
    CacheBytes bytes = SlotBuffer::bytes_for(*Codec::make(window_codec_, geometry.head_dim),
                                             geometry.kv_heads, shape_.window);
    bytes += SlotBuffer::bytes_for(*Codec::make(bank_codec_, geometry.head_dim), geometry.kv_heads,
                                   shape_.sinks);
    return bytes;
  }

  std::unique_ptr<LayerCache> make_layer(Ops& ops, const CacheGeometry& geometry, int layer,
                                         int64_t) const override {
    SlotBuffer sinks;
    if (shape_.sinks > 0) {
      sinks = SlotBuffer(ops, Codec::make(bank_codec_, geometry.head_dim), geometry.kv_heads,
                         shape_.sinks);
    }
    Ring ring(ops, Codec::make(window_codec_, geometry.head_dim), geometry.kv_heads, shape_.window,
              shape_.sinks);
    return std::make_unique<WindowCache>(std::move(sinks), std::move(ring), layer, shape_);
  }

  int64_t bank_position(int64_t position) const override {
    return shape_.sinks > 0 ? std::min(position, bank_limit()) : -1;
  }

  DecodePlan decode_plan(const CacheGeometry& geometry) const override {
    DecodePlan plan = plain_decode_plan(geometry);
    plan.sinks = shape_.sinks;
    plan.window = shape_.window;
    if (shape_.sinks > 0) plan.bank_limit = bank_limit();
    return plan;
  }

 private:
  int64_t bank_limit() const { return shape_.sinks + shape_.window - 1; }

  CodecSpec window_codec_;
  CodecSpec bank_codec_;
  WindowShape shape_;
};

ArgumentSpec window_argument(int64_t fallback) {
  return {"window", fallback, 1, 1 << 24, {}, "recent tokens kept, the current one included", true};
}

}  // namespace

std::vector<ArgumentSpec> window_arguments() { return {window_argument(384)}; }

std::unique_ptr<Policy> make_window(const Method& method) {
  return std::make_unique<WindowPolicy>(method, WindowShape{0, method.retention.integer("window")});
}

std::vector<ArgumentSpec> sinks_arguments() {
  return {
      {"sinks", int64_t{4}, 1, 1 << 20, {}, "first tokens of the sequence, kept for ever", true},
      window_argument(380)};
}

std::unique_ptr<Policy> make_sinks(const Method& method) {
  return std::make_unique<WindowPolicy>(
      method, WindowShape{method.retention.integer("sinks"), method.retention.integer("window")});
}

}  // namespace kvg
