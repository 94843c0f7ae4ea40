#pragma once

#include "kernels/ops.h"
#include "kernels/reference/slots.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace kvg::reference {

// Slots [begin, end) of a group that a query at `position` may read, as far as order decides it.
struct SlotRange {
  int64_t begin = 0;
  int64_t end = 0;
};

inline SlotRange readable_slots(const AttentionGroup& group, int64_t position) {
  if (group.first_position < 0) return {0, group.count};
  const int64_t newest = position - group.first_position;  // the query's own slot
  const int64_t begin = group.window > 0 ? std::max<int64_t>(0, newest - group.window + 1) : 0;
  const int64_t end = std::min(group.count, newest + 1);
  return {std::min(begin, std::max<int64_t>(0, end)), std::max<int64_t>(0, end)};
}

// K and V [count, head_dim] of one KV head of a group, in the frames of their codecs.
template <typename T>
struct DecodedGroup {
  std::vector<T> k;
  std::vector<T> v;
};

template <typename T>
std::vector<DecodedGroup<T>> decode_groups(const AttentionParams& p, const AttentionBlock& block,
                                           int64_t kv_head) {
  std::vector<DecodedGroup<T>> decoded(block.groups.size());
  for (size_t g = 0; g < decoded.size(); ++g) {
    const AttentionGroup& group = block.groups[g];
    if (group.count == 0) continue;
    decoded[g].k.resize(static_cast<size_t>(group.count * p.head_dim));
    decoded[g].v.resize(static_cast<size_t>(group.count * p.head_dim));
    decode_slots(slot_array(group.store, kv_head, false), group.first_slot, group.count,
                 decoded[g].k.data());
    decode_slots(slot_array(group.store, kv_head, true), group.first_slot, group.count,
                 decoded[g].v.data());
  }
  return decoded;
}

// logits_i = scale <P q, P k_i> + log_weight_i; slots that may not be read get -infinity.
template <typename T>
std::vector<T> group_logits(const AttentionParams& p, const AttentionGroup& group,
                            const DecodedGroup<T>& decoded, int32_t kv_head, int64_t position,
                            const T* q) {
  std::vector<T> query(q, q + p.head_dim);
  if (group.count > 0) group.store.k_codec->to_frame({p.layer, kv_head, false}, query.data(), 1);
  std::vector<T> logits(static_cast<size_t>(group.count), -std::numeric_limits<T>::infinity());
  const SlotRange range = readable_slots(group, position);
  for (int64_t i = range.begin; i < range.end; ++i) {
    if (group.valid != nullptr && group.valid[i] == 0) continue;
    T dot = 0;
    for (int d = 0; d < p.head_dim; ++d) {
      dot += query[static_cast<size_t>(d)] * decoded.k[static_cast<size_t>(i * p.head_dim + d)];
    }
    const T log_weight = group.log_weight != nullptr ? static_cast<T>(group.log_weight[i]) : T{0};
    logits[static_cast<size_t>(i)] = static_cast<T>(p.scale) * dot + log_weight;
  }
  return logits;
}

// o = sum_i softmax(logits)_i v_i over the slots of all groups together; each group's sum is formed
// in the frame of its value codec and brought back. Zeros when nothing can be read.
template <typename T>
std::vector<T> attend(const AttentionParams& p, const AttentionBlock& block,
                      const std::vector<DecodedGroup<T>>& decoded, int32_t kv_head, int stream,
                      int head, int64_t row) {
  const int64_t position = block.first_position + row - block.row_begin;
  const int64_t rows = p.out.size(0);
  std::vector<std::vector<T>> logits;
  T largest = -std::numeric_limits<T>::infinity();
  for (size_t g = 0; g < decoded.size(); ++g) {
    const AttentionGroup& group = block.groups[g];
    const T* q = p.q.row<T>(group.query_frame * rows + row) +
                 (int64_t{stream} * p.heads + head) * p.head_dim;
    logits.push_back(group_logits(p, group, decoded[g], kv_head, position, q));
    for (const T logit : logits.back()) largest = std::max(largest, logit);
  }
  std::vector<T> out(static_cast<size_t>(p.head_dim), T{0});
  T denominator = 0;
  for (size_t g = 0; g < decoded.size(); ++g) {
    std::vector<T> sum(static_cast<size_t>(p.head_dim), T{0});
    for (size_t i = 0; i < logits[g].size(); ++i) {
      if (logits[g][i] == -std::numeric_limits<T>::infinity()) continue;
      const T weight = std::exp(logits[g][i] - largest);
      denominator += weight;
      for (size_t d = 0; d < sum.size(); ++d) sum[d] += weight * decoded[g].v[i * sum.size() + d];
    }
    if (logits[g].empty()) continue;
    block.groups[g].store.v_codec->from_frame({p.layer, kv_head, true}, sum.data(), 1);
    for (size_t d = 0; d < sum.size(); ++d) out[d] += sum[d];
  }
  if (p.log_sum) {
    p.log_sum.row<T>(row)[int64_t{stream} * p.heads + head] = largest + std::log(denominator);
  }
  if (denominator > 0) {
    for (T& x : out) x /= denominator;
  }
  return out;
}

// out = o_0 - lambda o_1, then the head norm: out *= w / sqrt(mean(out^2) + eps). `o_1` is null for
// one stream. Plain loops over one head, shared by both sets.
template <typename T>
void finish_head(const AttentionParams& p, int64_t row, int head, const T* o_0, const T* o_1) {
  T* out = p.out.row<T>(row) + int64_t{head} * p.head_dim;
  const T lambda = o_1 != nullptr ? p.lambda.row<T>(row)[head] : T{0};
  for (int d = 0; d < p.head_dim; ++d) out[d] = o_1 != nullptr ? o_0[d] - lambda * o_1[d] : o_0[d];
  if (!p.head_norm) return;
  const T* weight = p.head_norm.as<T>();
  T squares = 0;
  for (int d = 0; d < p.head_dim; ++d) squares += out[d] * out[d];
  const T mean = squares / static_cast<T>(p.head_dim);
  const T scale = 1 / std::sqrt(mean + static_cast<T>(p.head_norm_eps));
  for (int d = 0; d < p.head_dim; ++d) out[d] *= scale * weight[d];
}

// See AttentionParams. Rows that belong to no block are left alone.
template <typename T>
void attention(const AttentionParams& p) {
  const int queries_a_kv_head = p.heads / p.kv_heads;
  for (const AttentionBlock& block : p.blocks) {
    for (int32_t kv_head = 0; kv_head < p.kv_heads; ++kv_head) {
      const auto decoded = decode_groups<T>(p, block, kv_head);
      for (int64_t row = block.row_begin; row < block.row_begin + block.rows; ++row) {
        for (int g = 0; g < queries_a_kv_head; ++g) {
          const int head = kv_head * queries_a_kv_head + g;
          const auto o_0 = attend(p, block, decoded, kv_head, 0, head, row);
          std::vector<T> o_1;
          if (p.streams == 2) o_1 = attend(p, block, decoded, kv_head, 1, head, row);
          finish_head(p, row, head, o_0.data(), p.streams == 2 ? o_1.data() : nullptr);
        }
      }
    }
  }
}

}  // namespace kvg::reference
