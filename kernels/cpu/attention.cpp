#include "kernels/cpu/attention.h"

#include "kernels/cpu/simd_math.h"
#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace kvg::cpu {
namespace {

using reference::readable_slots;
using reference::slot_array;
using reference::SlotRange;

// A tile of logits (256 x 256 floats) and its keys and values stay in a second-level cache of 1
// MiB.
constexpr int64_t kTileQueries = 256;
constexpr int64_t kTileRowsMost = 128;  // more rows would waste more above the diagonal
constexpr int64_t kTileSlots = 256;
// Tiles with fewer queries than this are cut along the slots.
constexpr int64_t kFewQueries = 32;
constexpr int64_t kPartSlots = 1024;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Softmax state of the queries of a tile: o is [queries, head_dim].
struct Partial {
  float* m;
  float* l;
  float* o;

  void clear(int64_t queries, int64_t head_dim) const {
    std::fill_n(m, queries, -kInfinity);
    std::fill_n(l, queries, 0.0f);
    std::fill_n(o, queries * head_dim, 0.0f);
  }
};

void scale(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// `into` and `from` as if their slots had been seen together: both are brought to the larger m.
void merge(const Partial& into, const Partial& from, int64_t queries, int64_t head_dim) {
  for (int64_t i = 0; i < queries; ++i) {
    const float m = from.m[i] > into.m[i] ? from.m[i] : into.m[i];
    const float shift = m == -kInfinity ? 0.0f : m;  // nothing seen on either side
    const float keep = fast_exp(into.m[i] - shift);
    const float add = fast_exp(from.m[i] - shift);
    float* o = into.o + i * head_dim;
    const float* other = from.o + i * head_dim;
    for (int64_t d = 0; d < head_dim; ++d) o[d] = keep * o[d] + add * other[d];
    into.l[i] = keep * into.l[i] + add * from.l[i];
    into.m[i] = m;
  }
}

// Turns the logits of one query, of which [begin, end) may be read, into exp(logit - m), and brings
// the query's state to the new m.
void online_softmax(float* logits, int64_t n, int64_t begin, int64_t end, int64_t head_dim,
                    float& m, float& l, float* o) {
  float largest = m;
#pragma omp simd reduction(max : largest)
  for (int64_t i = begin; i < end; ++i) largest = logits[i] > largest ? logits[i] : largest;
  const float shift = largest == -kInfinity ? 0.0f : largest;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) {
    logits[i] = fast_exp(logits[i] - shift);
    sum += logits[i];
  }
  std::fill(logits, logits + begin, 0.0f);
  std::fill(logits + end, logits + n, 0.0f);
  if (largest != m) {
    const float factor = fast_exp(m - shift);
    l *= factor;
    scale(o, head_dim, factor);
  }
  l += sum;
  m = largest;
}

// One tile on its way through the groups of its block, with the scratch of one thread.
class TileRun {
 public:
  TileRun(const AttentionParams& p, Worker& worker, const AttentionBlock& block, int32_t kv_head,
          int64_t row_begin, int64_t rows)
      : p_(p),
        blas_(worker.blas),
        block_(block),
        kv_head_(kv_head),
        row_begin_(row_begin),
        rows_(rows),
        queries_a_row_(int64_t{p.streams} * (p.heads / p.kv_heads)),
        queries_(rows * queries_a_row_) {
    const int64_t head_dim = p.head_dim;
    float* memory = worker.floats.reserve(queries_ * (2 * head_dim + kTileSlots + 2) +
                                          kTileSlots * (head_dim + 1));
    q_ = std::exchange(memory, memory + queries_ * head_dim);
    group_o_ = std::exchange(memory, memory + queries_ * head_dim);
    logits_ = std::exchange(memory, memory + queries_ * kTileSlots);
    group_m_ = std::exchange(memory, memory + queries_);
    group_l_ = std::exchange(memory, memory + queries_);
    vectors_ = std::exchange(memory, memory + kTileSlots * head_dim);
    bias_ = memory;
  }

  // Slots [slot_begin, slot_end) of all groups laid end to end.
  void attend(int64_t slot_begin, int64_t slot_end, const Partial& state) {
    state.clear(queries_, p_.head_dim);
    int64_t before = 0;
    for (const AttentionGroup& group : block_.groups) {
      const SlotRange part{std::max<int64_t>(0, slot_begin - before),
                           std::min(group.count, slot_end - before)};
      before += group.count;
      const SlotRange first = readable_slots(group, position(0));
      const SlotRange last = readable_slots(group, position(rows_ - 1));
      const SlotRange slots{std::max(part.begin, first.begin), std::min(part.end, last.end)};
      if (slots.begin < slots.end) attend_group(group, slots, state);
    }
  }

 private:
  int64_t position(int64_t row) const {
    return block_.first_position + row_begin_ - block_.row_begin + row;
  }

  // With a rotating value codec the group has a state of its own, in the codec's frame.
  void attend_group(const AttentionGroup& group, const SlotRange& slots, const Partial& state) {
    pack_queries(group);
    if (!group.store.v_codec->rotates()) {
      attend_slots(group, slots, state);
      return;
    }
    const Partial own{group_m_, group_l_, group_o_};
    own.clear(queries_, p_.head_dim);
    attend_slots(group, slots, own);
    group.store.v_codec->from_frame({p_.layer, kv_head_, true}, own.o, queries_);
    merge(state, own, queries_, p_.head_dim);
  }

  // q [queries, head_dim], times the scale, in the frame of the group's key codec.
  void pack_queries(const AttentionGroup& group) {
    const bool rotates = group.store.k_codec->rotates();
    if (packed_frame_ == group.query_frame && !rotates) return;
    const int64_t vectors = p_.heads / p_.kv_heads;
    const auto factor = static_cast<float>(p_.scale);
    float* target = q_;
    for (int64_t row = 0; row < rows_; ++row) {
      const float* source = p_.q.row<float>(group.query_frame * p_.out.size(0) + row_begin_ + row) +
                            kv_head_ * vectors * p_.head_dim;
      for (int stream = 0; stream < p_.streams; ++stream) {
        const int64_t n = vectors * p_.head_dim;
        for (int64_t i = 0; i < n; ++i) target[i] = source[i] * factor;
        target += n;
        source += int64_t{p_.heads} * p_.head_dim;
      }
    }
    if (rotates) group.store.k_codec->to_frame({p_.layer, kv_head_, false}, q_, queries_);
    packed_frame_ = rotates ? -1 : group.query_frame;
  }

  void attend_slots(const AttentionGroup& group, const SlotRange& slots, const Partial& state) {
    const int64_t head_dim = p_.head_dim;
    for (int64_t begin = slots.begin; begin < slots.end; begin += kTileSlots) {
      const int64_t n = std::min(kTileSlots, slots.end - begin);
      const int64_t first_slot = group.first_slot + begin;
      reference::decode_slots(slot_array(group.store, kv_head_, false), first_slot, n, vectors_);
      blas_.multiply_transposed(queries_, n, head_dim, q_, head_dim, vectors_, head_dim, false,
                                logits_, n);
      add_slot_biases(group, begin, n);
      for (int64_t row = 0; row < rows_; ++row) softmax_row(group, row, begin, n, state);
      reference::decode_slots(slot_array(group.store, kv_head_, true), first_slot, n, vectors_);
      blas_.multiply(queries_, head_dim, n, logits_, n, vectors_, head_dim, true, state.o,
                     head_dim);
    }
  }

  // log_weight, and -infinity where a slot is not valid.
  void add_slot_biases(const AttentionGroup& group, int64_t begin, int64_t n) {
    if (group.valid == nullptr && group.log_weight == nullptr) return;
    for (int64_t i = 0; i < n; ++i) {
      const bool valid = group.valid == nullptr || group.valid[begin + i] != 0;
      const float weight = group.log_weight != nullptr ? group.log_weight[begin + i] : 0.0f;
      bias_[i] = valid ? weight : -kInfinity;
    }
    for (int64_t query = 0; query < queries_; ++query) {
      float* logits = logits_ + query * n;
      for (int64_t i = 0; i < n; ++i) logits[i] += bias_[i];
    }
  }

  void softmax_row(const AttentionGroup& group, int64_t row, int64_t begin, int64_t n,
                   const Partial& state) {
    const SlotRange range = readable_slots(group, position(row));
    const int64_t from = std::clamp<int64_t>(range.begin - begin, 0, n);
    const int64_t to = std::clamp<int64_t>(range.end - begin, from, n);
    for (int64_t query = row * queries_a_row_; query < (row + 1) * queries_a_row_; ++query) {
      online_softmax(logits_ + query * n, n, from, to, p_.head_dim, state.m[query], state.l[query],
                     state.o + query * p_.head_dim);
    }
  }

  const AttentionParams& p_;
  Blas& blas_;
  const AttentionBlock& block_;
  int32_t kv_head_;
  int64_t row_begin_;
  int64_t rows_;
  int64_t queries_a_row_;
  int64_t queries_;
  int packed_frame_ = -1;
  float* q_;
  float* group_o_;
  float* logits_;
  float* group_m_;
  float* group_l_;
  float* vectors_;
  float* bias_;
};

}  // namespace

void Attention::add_parts(Tile tile, int64_t queries) {
  int64_t slots = 0;
  for (const AttentionGroup& group : tile.block->groups) slots += group.count;
  const int64_t part_slots = queries < kFewQueries ? kPartSlots : std::max<int64_t>(slots, 1);
  tile.first_partial = partials_;
  tile.parts = std::max<int64_t>(1, ceil_divide(slots, part_slots));
  for (int64_t i = 0; i < tile.parts; ++i) {
    parts_.push_back({static_cast<int64_t>(tiles_.size()), i, i * part_slots,
                      std::min(slots, (i + 1) * part_slots)});
  }
  partials_ += tile.parts * queries;
  work_ += static_cast<double>(queries) * static_cast<double>(slots);
  tiles_.push_back(tile);
}

void Attention::plan(const AttentionParams& p) {
  tiles_.clear();
  parts_.clear();
  partials_ = 0;
  work_ = 0;
  const int64_t queries_a_row = int64_t{p.streams} * (p.heads / p.kv_heads);
  const int64_t tile_rows = std::clamp<int64_t>(kTileQueries / queries_a_row, 1, kTileRowsMost);
  for (const AttentionBlock& block : p.blocks) {
    for (int64_t begin = 0; begin < block.rows; begin += tile_rows) {
      const int64_t rows = std::min(tile_rows, block.rows - begin);
      for (int32_t kv_head = 0; kv_head < p.kv_heads; ++kv_head) {
        add_parts({&block, kv_head, block.row_begin + begin, rows, 0, 0}, rows * queries_a_row);
      }
    }
  }
}

void Attention::finish(const AttentionParams& p, const Tile& tile) {
  const int64_t head_dim = p.head_dim;
  const int64_t group_heads = p.heads / p.kv_heads;
  const int64_t queries = tile.rows * p.streams * group_heads;
  const auto partial = [&](int64_t part) {
    const int64_t at = tile.first_partial + part * queries;
    return Partial{m_.reserve(partials_) + at, l_.reserve(partials_) + at,
                   o_.reserve(partials_ * head_dim) + at * head_dim};
  };
  const Partial total = partial(0);
  for (int64_t part = 1; part < tile.parts; ++part) merge(total, partial(part), queries, head_dim);
  for (int64_t i = 0; i < queries; ++i) {
    // l is 0 when the query could read nothing; its o is then 0 already.
    scale(total.o + i * head_dim, head_dim, total.l[i] == 0.0f ? 0.0f : 1.0f / total.l[i]);
  }
  for (int64_t row = 0; row < tile.rows; ++row) {
    const float* streams = total.o + row * p.streams * group_heads * head_dim;
    for (int64_t g = 0; g < group_heads; ++g) {
      const float* o_0 = streams + g * head_dim;
      const float* o_1 = p.streams == 2 ? o_0 + group_heads * head_dim : nullptr;
      reference::finish_head(p, tile.row_begin + row,
                             static_cast<int>(tile.kv_head * group_heads + g), o_0, o_1);
    }
  }
}

void Attention::run(const AttentionParams& p, Team& team) {
  plan(p);
  float* m = m_.reserve(partials_);
  float* l = l_.reserve(partials_);
  float* o = o_.reserve(partials_ * p.head_dim);
  const double work = work_ * 4 * p.head_dim;
  team.for_each(static_cast<int64_t>(parts_.size()), work, [&](Worker& worker, int64_t i) {
    const Part& part = parts_[static_cast<size_t>(i)];
    const Tile& tile = tiles_[static_cast<size_t>(part.tile)];
    const int64_t queries = tile.rows * p.streams * (p.heads / p.kv_heads);
    const int64_t at = tile.first_partial + part.index * queries;
    TileRun(p, worker, *tile.block, tile.kv_head, tile.row_begin, tile.rows)
        .attend(part.slot_begin, part.slot_end, {m + at, l + at, o + at * p.head_dim});
  });
  const double finish_work = 8.0 * static_cast<double>(partials_) * p.head_dim;
  team.for_each(static_cast<int64_t>(tiles_.size()), finish_work,
                [&](Worker&, int64_t i) { finish(p, tiles_[static_cast<size_t>(i)]); });
}

}  // namespace kvg::cpu
