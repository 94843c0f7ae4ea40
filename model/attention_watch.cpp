#include "model/attention_watch.h"

#include "base/error.h"
#include "kernels/reference/attention.h"

#include <algorithm>

namespace kvg {

namespace {

using DecodedGroups = std::vector<reference::DecodedGroup<double>>;

double value_at(const Tensor& tensor, int64_t row, int64_t column) {
  return tensor.dtype == DType::f64 ? tensor.row<double>(row)[column]
                                    : static_cast<double>(tensor.row<float>(row)[column]);
}

// The token in slot i of a group, -1 where it holds none as it was.
int64_t token_in(const AttentionGroup& group, int64_t i) {
  if (group.first_position >= 0) return group.first_position + i;
  return group.positions != nullptr ? group.positions[i] : -1;
}

// Index of a position among the watched ones, -1: not one of them.
int64_t watched_index(const AttentionWatch& watch, int64_t position) {
  const auto at = std::ranges::lower_bound(watch.positions, position);
  return at != watch.positions.end() && *at == position ? at - watch.positions.begin() : -1;
}

AttentionWatch::Layer& layer_of(AttentionWatch* watch, int64_t position, int32_t layer) {
  auto at =
      std::ranges::lower_bound(watch->queries, position, {}, &AttentionWatch::Query::position);
  if (at == watch->queries.end() || at->position != position) {
    at = watch->queries.insert(at, {position, {}});
  }
  const auto index = static_cast<size_t>(layer);
  if (at->layers.size() <= index) at->layers.resize(index + 1);
  return at->layers[index];
}

// Share of one softmax that falls to the watched tokens; marks those it can read.
double watched_share(const AttentionParams& p, const AttentionBlock& block,
                     const DecodedGroups& decoded, int32_t kv_head, int64_t q_column, int64_t row,
                     const AttentionWatch& watch, std::vector<bool>* held) {
  const int64_t position = block.first_position + row - block.row_begin;
  std::vector<std::vector<double>> logits;
  std::vector<double> q(static_cast<size_t>(p.head_dim));
  double largest = -std::numeric_limits<double>::infinity();
  for (size_t g = 0; g < block.groups.size(); ++g) {
    const int64_t q_row = block.groups[g].query_frame * p.out.size(0) + row;
    for (size_t d = 0; d < q.size(); ++d) {
      q[d] = value_at(p.q, q_row, q_column + static_cast<int64_t>(d));
    }
    logits.push_back(reference::group_logits(p, block.groups[g], decoded[g], kv_head, position,
                                             static_cast<const double*>(q.data())));
    for (const double logit : logits.back()) largest = std::max(largest, logit);
  }
  double all = 0, watched = 0;
  for (size_t g = 0; g < logits.size(); ++g) {
    for (size_t i = 0; i < logits[g].size(); ++i) {
      if (logits[g][i] == -std::numeric_limits<double>::infinity()) continue;
      const double weight = std::exp(logits[g][i] - largest);
      all += weight;
      const int64_t index =
          watched_index(watch, token_in(block.groups[g], static_cast<int64_t>(i)));
      if (index < 0) continue;
      watched += weight;
      (*held)[static_cast<size_t>(index)] = true;
    }
  }
  return all > 0 ? watched / all : 0;
}

}  // namespace

void watch_attention(const AttentionParams& p, AttentionWatch* watch) {
  KVG_CHECK(p.out.device == Device::cpu, "attention is watched on the host");
  for (const AttentionBlock& block : p.blocks) {
    const int64_t end = block.row_begin + block.rows;
    const int64_t first =
        block.row_begin + std::clamp<int64_t>(watch->from - block.first_position, 0, block.rows);
    if (first == end) continue;
    for (int32_t kv_head = 0; kv_head < p.kv_heads; ++kv_head) {
      const DecodedGroups decoded = reference::decode_groups<double>(p, block, kv_head);
      for (int64_t row = first; row < end; ++row) {
        AttentionWatch::Layer& layer =
            layer_of(watch, block.first_position + row - block.row_begin, p.layer);
        if (kv_head == 0) {
          layer = {std::vector<bool>(watch->positions.size()),
                   -std::numeric_limits<double>::infinity()};
        }
        const int group = p.heads / p.kv_heads;
        for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
          const auto share = [&](int stream) {
            const int64_t column = (int64_t{stream} * p.heads + head) * p.head_dim;
            return watched_share(p, block, decoded, kv_head, column, row, *watch, &layer.held);
          };
          double net = share(0);
          if (p.streams == 2) net -= value_at(p.lambda, row, head) * share(1);
          layer.weight = std::max(layer.weight, net);
        }
      }
    }
  }
}

}  // namespace kvg
