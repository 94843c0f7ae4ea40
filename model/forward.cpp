#include "model/forward.h"

#include "model/placer.h"

#include <algorithm>

namespace kvg {

namespace {

// Logits of many rows at once would dwarf every other buffer at large vocabularies.
constexpr int64_t kLogitsRows = 128;

}  // namespace

CacheBytes SequenceState::bytes() const {
  CacheBytes bytes;
  for (const auto& layer : layers) bytes += layer->bytes();
  return bytes;
}

int query_frames(const Policy& policy) { return policy.bank_position(0) >= 0 ? 2 : 1; }

Forward::Forward(const Weights& weights, const Policy& policy, Ops& ops, int64_t max_rows)
    : policy_(policy),
      ops_(ops),
      max_rows_(max_rows),
      logits_rows_(std::min(max_rows, kLogitsRows)),
      pass_(weights, ops, query_frames(policy), max_rows, logits_rows_) {
  const auto place_scores = [&](void* base) {
    Placer placer(base);
    targets_ = placer.tensor(ops, DType::i32, {max_rows});
    nll_ = placer.tensor(ops, DType::f64, {max_rows});
    return placer.used();
  };
  scores_ = ops.allocate(place_scores(nullptr));
  (void)place_scores(scores_->data());
}

void Forward::place(std::span<const SequenceInput> inputs, int64_t rows) {
  host_tokens_.clear();
  host_positions_.clear();
  host_bank_positions_.clear();
  for (const SequenceInput& input : inputs) {
    for (size_t i = 0; i < input.tokens.size(); ++i) {
      const int64_t position = input.state->length + static_cast<int64_t>(i);
      KVG_CHECK(input.tokens[i] >= 0 && input.tokens[i] < pass_.weights().config.vocab,
                "token outside the vocabulary");
      host_tokens_.push_back(input.tokens[i]);
      host_positions_.push_back(position);
      host_bank_positions_.push_back(policy_.bank_position(position));
    }
  }
  const auto fill = [this](const Tensor& to, const void* from) {
    if (to) ops_.copy(to.data, from, to.bytes());
  };
  fill(pass_.tokens(rows), host_tokens_.data());
  fill(pass_.positions(rows), host_positions_.data());
  fill(pass_.bank_positions(rows), host_bank_positions_.data());
}

Tensor Forward::run(std::span<const SequenceInput> inputs) {
  int64_t rows = 0;
  for (const SequenceInput& input : inputs) rows += std::ssize(input.tokens);
  KVG_CHECK(rows > 0 && rows <= max_rows_, "rows outside the planned buffers");
  ops_.phase(Phase::embed, -1);
  place(inputs, rows);
  const Tensor hidden =
      pass_.run(rows, [&](int l, const HeadTensors& heads) { attend(l, heads, inputs); });
  for (const SequenceInput& input : inputs) input.state->length += std::ssize(input.tokens);
  return hidden;
}

void Forward::attend(int index, const HeadTensors& heads, std::span<const SequenceInput> inputs) {
  const ModelConfig& config = pass_.weights().config;
  const LayerWeights& layer = pass_.weights().layers[static_cast<size_t>(index)];
  blocks_.clear();
  int64_t row = 0;
  for (const SequenceInput& input : inputs) {
    const int64_t n = std::ssize(input.tokens);
    if (n == 0) continue;
    AbsorbInput absorb{heads.k.rows(row, n),
                       heads.v.rows(row, n),
                       heads.gate.rows(row, n),
                       input.state->length,
                       row,
                       nullptr};
    if (layer.summary_eta) absorb.eta = layer.summary_eta.as<double>();
    input.state->layers[static_cast<size_t>(index)]->absorb(ops_, absorb, &blocks_);
    row += n;
  }

  ops_.phase(Phase::attention, index);
  AttentionParams params;
  params.q = heads.q;
  params.frames = pass_.frames();
  params.streams = config.streams();
  params.heads = config.heads;
  params.kv_heads = config.kv_heads;
  params.head_dim = config.head_dim;
  params.layer = index;
  params.scale = pass_.attention_scale();
  params.lambda = heads.lambda;
  params.head_norm = layer.head_norm;
  params.blocks = blocks_;
  params.out = heads.out;
  ops_.attention(params);
  watch(params, inputs);

  ops_.phase(Phase::rope, index);  // what commit() moves is K and V on their way into the cache
  for (const SequenceInput& input : inputs) {
    if (!input.tokens.empty()) input.state->layers[static_cast<size_t>(index)]->commit(ops_);
  }
}

void Forward::watch(AttentionParams params, std::span<const SequenceInput> inputs) const {
  int64_t row = 0;
  for (const SequenceInput& input : inputs) {
    const int64_t end = row + std::ssize(input.tokens);
    if (input.watch != nullptr) {
      const auto own = [](const AttentionBlock& block) { return block.row_begin; };
      const auto first = std::ranges::lower_bound(blocks_, row, {}, own);
      const auto last = std::ranges::lower_bound(first, blocks_.end(), end, {}, own);
      params.blocks = {first, last};
      watch_attention(params, input.watch);
    }
    row = end;
  }
}

Tensor Forward::logits(const Tensor& hidden, int64_t begin, int64_t count) {
  KVG_CHECK(count <= logits_rows_, "more rows of logits than planned");
  return pass_.logits(hidden.rows(begin, count));
}

std::vector<double> Forward::nll(const Tensor& hidden, int64_t begin,
                                 std::span<const int32_t> targets) {
  std::vector<double> result(targets.size());
  const int64_t total = std::ssize(targets);
  KVG_CHECK(total <= max_rows_, "more targets than rows");
  ops_.copy(targets_.data, targets.data(), targets.size_bytes());
  for (int64_t done = 0; done < total;) {
    const int64_t count = std::min(logits_rows_, total - done);
    const Tensor rows = logits(hidden, begin + done, count);
    ops_.nll({rows, targets_.rows(done, count), nll_.rows(done, count)});
    done += count;
  }
  ops_.copy(result.data(), nll_.data, result.size() * sizeof(double));
  return result;
}

}  // namespace kvg
