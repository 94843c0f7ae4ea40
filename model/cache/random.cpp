#include "model/cache/random.h"

#include "kernels/decode.h"
#include "model/cache/grid.h"
#include "model/cache/ring.h"

#include <algorithm>
#include <list>

namespace kvg {

namespace {

struct RandomShape {
  EvictionGrid grid;
  int64_t bank = 0;
  uint64_t seed = 0;
};

constexpr int64_t kRun = 64;  // tokens moved at a time

// Tokens on their way from the window's codec to the bank's, in the set's own type.
class TokenScratch {
 public:
  TokenScratch(Ops& ops, int kv_heads, int head_dim) {
    k_ = Tensor(nullptr, ops.activation(), ops.device(), {kRun, kv_heads, head_dim});
    memory_ = ops.allocate(2 * k_.bytes());
    v_ = k_;
    k_.data = memory_->data();
    v_.data = static_cast<uint8_t*>(memory_->data()) + k_.bytes();
  }
  void move(Ops& ops, int layer, const SlotStore& from, int64_t from_slot, const SlotStore& to,
            int64_t to_slot, int64_t count) const {
    const Tensor k = k_.rows(0, count);
    const Tensor v = v_.rows(0, count);
    ops.load({k, v, layer, from, from_slot});
    ops.store({k, v, layer, to, to_slot});
  }

 private:
  std::unique_ptr<Buffer> memory_;
  Tensor k_, v_;
};

class RandomCache : public LayerCache {
 public:
  RandomCache(Ops& ops, SlotBuffer bank, Ring ring, const CacheGeometry& geometry, int layer,
              const RandomShape& shape)
      : bank_(std::move(bank)),
        ring_(std::move(ring)),
        scratch_(ops, geometry.kv_heads, geometry.head_dim),
        geometry_(geometry),
        layer_(layer),
        shape_(shape) {}

  void absorb(Ops& ops, const AbsorbInput& input, std::vector<AttentionBlock>* blocks) override {
    const int64_t n = input.k.size(0);
    const int64_t first = input.first_position;
    const int64_t end = first + n;
    evict_before(ops, shape_.grid.begin(first));
    const AttentionGroup recent = ring_.append(ops, layer_, input.k, input.v, first);
    snapshots_ = make_snapshots(ops, first, end);
    for (int64_t t = first; t < end;) {
      const int64_t next = std::min(end, shape_.grid.segment_end(t));
      evict_before(ops, shape_.grid.begin(t));
      AttentionBlock block{input.row_begin + (t - first), next - t, t, {}};
      add_bank(ops, /*changes_later=*/next < end, &block);
      add_recent(recent, t, next, &block);
      blocks->push_back(std::move(block));
      t = next;
    }
  }

  void commit(Ops& ops) override {
    ring_.settle(ops);
    snapshots_ = {};
    position_snapshots_.clear();
  }

  DecodeCache decode_cache(Ops&, int64_t) override {
    DecodeCache cache;
    cache.recent = ring_.store();
    cache.random = bank_.store();
    return cache;
  }
  void decoded(Ops&, int64_t length) override {
    ring_.written_to(length);
    const int64_t evicted = length > 0 ? shape_.grid.begin(length - 1) : evicted_;
    for (int64_t p = evicted_; p < evicted; ++p) note(slot_of(p), p);
    evicted_ = evicted;
  }

  void keep_positions() override { positions_.assign(static_cast<size_t>(shape_.bank), -1); }

  CacheBytes bytes() const override {
    CacheBytes bytes = ring_.bytes();
    bytes += bank_.bytes();
    return bytes;
  }

  std::unique_ptr<LayerCache> clone(Ops& ops) const override {
    auto copy = std::make_unique<RandomCache>(ops, bank_.clone(ops), ring_.clone(ops), geometry_,
                                              layer_, shape_);
    copy->evicted_ = evicted_;
    copy->positions_ = positions_;
    return copy;
  }

 private:
  void evict_before(Ops& ops, int64_t position) {
    if (evicted_ >= position) return;
    ops.phase(Phase::bank, layer_);
    while (evicted_ < position) {
      const int64_t slot = slot_of(evicted_);
      if (slot >= shape_.bank) {
        ++evicted_;
        continue;
      }
      // Until the bank is full, tokens go into slots that follow each other: one move.
      int64_t run = 1;
      while (run < kRun && evicted_ + run < position && slot + run < shape_.bank &&
             slot_of(evicted_ + run) == slot + run) {
        ++run;
      }
      const int64_t from = ring_.slot_of(evicted_);
      if (bank_.codec()->spec() == ring_.buffer().codec()->spec()) {
        bank_.copy_slots(ops, ring_.buffer(), from, slot, run);
      } else {
        scratch_.move(ops, layer_, ring_.buffer().store(), from, bank_.store(), slot, run);
      }
      for (int64_t i = 0; i < run; ++i) note(slot + i, evicted_ + i);
      evicted_ += run;
    }
    ops.phase(Phase::rope, layer_);
  }

  void note(int64_t slot, int64_t position) {
    if (slot < std::ssize(positions_)) positions_[static_cast<size_t>(slot)] = position;
  }

  // Slot of the bank for the token of a position; one that the bank does not have: it is dropped.
  int64_t slot_of(int64_t position) const {
    return random_bank_slot(shape_.seed, layer_, position, shape_.bank);
  }

  // As many as blocks of the call [first, end) may ask for.
  SlotBuffer::Snapshots make_snapshots(Ops& ops, int64_t first, int64_t end) const {
    int64_t count = 0;
    for (int64_t t = shape_.grid.segment_end(first); t < end; t = shape_.grid.segment_end(t)) {
      ++count;
    }
    return count == 0 ? SlotBuffer::Snapshots() : SlotBuffer::Snapshots(ops, bank_, count);
  }

  void add_bank(Ops& ops, bool changes_later, AttentionBlock* block) {
    AttentionGroup group;
    group.count = std::min(evicted_, shape_.bank);
    if (group.count == 0) return;
    if (changes_later) {
      group.store = snapshots_.take(ops, bank_);
    } else {
      group.store = bank_.store();
    }
    if (!positions_.empty()) {
      if (changes_later) position_snapshots_.push_back(positions_);
      group.positions = (changes_later ? position_snapshots_.back() : positions_).data();
    }
    block->groups.push_back(group);
  }

  // The part of the call's recent tokens that positions [begin, end) may read.
  void add_recent(const AttentionGroup& recent, int64_t begin, int64_t end, AttentionBlock* block) {
    AttentionGroup group = recent;
    group.first_position = shape_.grid.begin(begin);
    group.first_slot =
        (recent.first_slot + group.first_position - recent.first_position) % recent.store.capacity;
    group.count = end - group.first_position;
    block->groups.push_back(group);
  }

  SlotBuffer bank_;
  Ring ring_;
  TokenScratch scratch_;
  SlotBuffer::Snapshots snapshots_;
  CacheGeometry geometry_;
  int layer_;
  RandomShape shape_;
  int64_t evicted_ = 0;             // tokens [0, evicted_) have left the window
  std::vector<int64_t> positions_;  // [bank] of the token in each slot; empty: not kept
  std::list<std::vector<int64_t>> position_snapshots_;
};

class RandomPolicy : public Policy {
 public:
  RandomPolicy(const Method& method, const RandomShape& shape)
      : window_codec_(method.window_codec), bank_codec_(method.bank_codec), shape_(shape) {}

  int64_t slots(int64_t) const override { return shape_.grid.window + shape_.bank; }

  CacheBytes bytes_per_layer(const CacheGeometry& geometry, int64_t) const override {
    CacheBytes bytes = SlotBuffer::bytes_for(*Codec::make(window_codec_, geometry.head_dim),
                                             geometry.kv_heads, shape_.grid.window);
    bytes += SlotBuffer::bytes_for(*Codec::make(bank_codec_, geometry.head_dim), geometry.kv_heads,
                                   shape_.bank);
    return bytes;
  }

  std::unique_ptr<LayerCache> make_layer(Ops& ops, const CacheGeometry& geometry, int layer,
                                         int64_t) const override {
    SlotBuffer bank(ops, Codec::make(bank_codec_, geometry.head_dim), geometry.kv_heads,
                    shape_.bank);
    Ring ring(ops, Codec::make(window_codec_, geometry.head_dim), geometry.kv_heads,
              shape_.grid.window);
    return std::make_unique<RandomCache>(ops, std::move(bank), std::move(ring), geometry, layer,
                                         shape_);
  }

  DecodePlan decode_plan(const CacheGeometry& geometry) const override {
    DecodePlan plan = plain_decode_plan(geometry);
    plan.window = shape_.grid.window;
    plan.block = shape_.grid.block;
    plan.bank = DecodeBank::random;
    plan.seed = shape_.seed;
    return plan;
  }

 private:
  CodecSpec window_codec_;
  CodecSpec bank_codec_;
  RandomShape shape_;
};

}  // namespace

std::vector<ArgumentSpec> random_arguments() {
  return {
      {"window",
       int64_t{256},
       1,
       1 << 24,
       {},
       "recent tokens kept, the current one included",
       true},
      {"bank", int64_t{128}, 1, 1 << 24, {}, "older tokens kept, drawn at random", true},
      {"block", int64_t{16}, 1, 1 << 24, {}, "tokens evicted at a time", false},
      {"seed", int64_t{0}, 0, 0x7fffffff, {}, "of the draw", false},
  };
}

std::unique_ptr<Policy> make_random(const Method& method) {
  const RetentionSpec& spec = method.retention;
  RandomShape shape;
  shape.grid = {spec.integer("window"), std::min(spec.integer("block"), spec.integer("window"))};
  shape.bank = spec.integer("bank");
  shape.seed = static_cast<uint64_t>(spec.integer("seed"));
  return std::make_unique<RandomPolicy>(method, shape);
}

}  // namespace kvg
