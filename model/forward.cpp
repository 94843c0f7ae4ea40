#include "model/forward.h"

#include <algorithm>
#include <cmath>

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

Forward::Forward(const Weights& weights, const Policy& policy, Ops& ops, int64_t max_rows)
    : weights_(weights),
      policy_(policy),
      ops_(ops),
      max_rows_(max_rows),
      logits_rows_(std::min(max_rows, kLogitsRows)),
      frames_(policy.bank_position(0) >= 0 ? 2 : 1) {
  KVG_CHECK(max_rows > 0, "a forward pass needs rows");
  const ModelConfig& config = weights.config;
  size_t total = 0;
  const auto reserve = [&total](int64_t elements, DType dtype) {
    const size_t offset = total;
    total += (static_cast<size_t>(elements) * dtype_size(dtype) + 63) / 64 * 64;
    return offset;
  };
  const DType type = ops.activation();
  plan_.tokens = reserve(max_rows, DType::i32);
  plan_.positions = reserve(max_rows, DType::i64);
  plan_.bank_positions = reserve(max_rows, DType::i64);
  plan_.x = reserve(max_rows * config.hidden, type);
  plan_.normed = reserve(max_rows * config.hidden, type);
  plan_.fused = reserve(max_rows * config.fused_width(), type);
  plan_.q = reserve(frames_ * max_rows * config.streams() * config.q_width(), type);
  plan_.k = reserve(max_rows * config.kv_width(), type);
  plan_.v = reserve(max_rows * config.kv_width(), type);
  plan_.lambda = reserve(max_rows * config.heads, type);
  plan_.gate = reserve(max_rows, type);
  plan_.mixed = reserve(max_rows * config.q_width(), type);
  plan_.delta = reserve(max_rows * config.hidden, type);
  plan_.gate_up = reserve(max_rows * 2 * config.ffn, type);
  plan_.hidden = reserve(max_rows * config.ffn, type);
  plan_.logits = reserve(logits_rows_ * config.vocab, type);
  plan_.targets = reserve(logits_rows_, DType::i32);
  plan_.nll = reserve(logits_rows_, DType::f64);
  memory_ = ops.allocate(total);
}

Tensor Forward::view(size_t offset, DType dtype, std::initializer_list<int64_t> shape) const {
  return {static_cast<uint8_t*>(memory_->data()) + offset, dtype, ops_.device(), shape};
}

void Forward::place(std::span<const SequenceInput> inputs, int64_t rows) {
  host_tokens_.clear();
  host_positions_.clear();
  host_bank_positions_.clear();
  for (const SequenceInput& input : inputs) {
    for (size_t i = 0; i < input.tokens.size(); ++i) {
      const int64_t position = input.state->length + static_cast<int64_t>(i);
      KVG_CHECK(input.tokens[i] >= 0 && input.tokens[i] < weights_.config.vocab,
                "token outside the vocabulary");
      host_tokens_.push_back(input.tokens[i]);
      host_positions_.push_back(position);
      host_bank_positions_.push_back(policy_.bank_position(position));
    }
  }
  const auto n = static_cast<size_t>(rows);
  auto* base = static_cast<uint8_t*>(memory_->data());
  ops_.copy(base + plan_.tokens, host_tokens_.data(), n * sizeof(int32_t));
  ops_.copy(base + plan_.positions, host_positions_.data(), n * sizeof(int64_t));
  ops_.copy(base + plan_.bank_positions, host_bank_positions_.data(), n * sizeof(int64_t));
}

Tensor Forward::run(std::span<const SequenceInput> inputs) {
  int64_t rows = 0;
  for (const SequenceInput& input : inputs) rows += static_cast<int64_t>(input.tokens.size());
  KVG_CHECK(rows > 0 && rows <= max_rows_, "rows outside the planned buffers");
  place(inputs, rows);

  const ModelConfig& config = weights_.config;
  const DType type = ops_.activation();
  const Tensor x = view(plan_.x, type, {rows, config.hidden});
  const Tensor normed = view(plan_.normed, type, {rows, config.hidden});
  const Tensor delta = view(plan_.delta, type, {rows, config.hidden});
  ops_.embed({view(plan_.tokens, DType::i32, {rows}), weights_.embedding, x});
  for (int64_t l = 0; l < config.layers; ++l) {
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(l)];
    // The residual of the previous layer's feed-forward is added where the next norm reads it.
    ops_.rms_norm({x, l == 0 ? Tensor() : delta, layer.attention_norm, config.rms_eps, normed});
    attention(layer, static_cast<int>(l), inputs, rows);
    ops_.rms_norm({x, delta, layer.ffn_norm, config.rms_eps, normed});
    feed_forward(layer, rows);
  }
  ops_.rms_norm({x, delta, weights_.final_norm, config.rms_eps, normed});
  for (const SequenceInput& input : inputs) {
    input.state->length += static_cast<int64_t>(input.tokens.size());
  }
  return normed;
}

void Forward::attention(const LayerWeights& layer, int index, std::span<const SequenceInput> inputs,
                        int64_t rows) {
  const ModelConfig& config = weights_.config;
  const DType type = ops_.activation();
  const Tensor fused = view(plan_.fused, type, {rows, config.fused_width()});
  const Tensor q =
      view(plan_.q, type, {frames_ * rows, config.streams(), config.heads, config.head_dim});
  const Tensor k = view(plan_.k, type, {rows, config.kv_heads, config.head_dim});
  const Tensor v = view(plan_.v, type, {rows, config.kv_heads, config.head_dim});
  const Tensor gate = view(plan_.gate, type, {rows});
  const Tensor lambda = config.coda ? view(plan_.lambda, type, {rows, config.heads}) : Tensor();
  ops_.linear(
      {view(plan_.normed, type, {rows, config.hidden}), layer.fused, layer.fused_bias, fused});

  PrepareHeadsParams heads;
  heads.fused = fused;
  heads.positions = view(plan_.positions, DType::i64, {rows});
  if (frames_ == 2) heads.bank_positions = view(plan_.bank_positions, DType::i64, {rows});
  heads.rope = config.rope;
  heads.heads = config.heads;
  heads.kv_heads = config.kv_heads;
  heads.head_dim = config.head_dim;
  heads.theta = layer.theta;
  heads.lambda_column = config.lambda_column();
  heads.gate_column = config.gate_column();
  heads.q = q;
  heads.k = k;
  heads.v = v;
  heads.lambda = lambda;
  heads.gate = gate;
  ops_.prepare_heads(heads);

  blocks_.clear();
  int64_t row = 0;
  for (const SequenceInput& input : inputs) {
    const auto n = static_cast<int64_t>(input.tokens.size());
    if (n == 0) continue;
    AbsorbInput absorb{k.rows(row, n), v.rows(row, n), gate.rows(row, n), input.state->length, row,
                       nullptr};
    if (layer.summary_eta) absorb.eta = layer.summary_eta.as<double>();
    input.state->layers[static_cast<size_t>(index)]->absorb(ops_, absorb, &blocks_);
    row += n;
  }

  AttentionParams params;
  params.q = q;
  params.frames = frames_;
  params.streams = config.streams();
  params.heads = config.heads;
  params.kv_heads = config.kv_heads;
  params.head_dim = config.head_dim;
  params.layer = index;
  params.scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  params.lambda = lambda;
  params.head_norm = layer.head_norm;
  params.blocks = blocks_;
  params.out = view(plan_.mixed, type, {rows, config.heads, config.head_dim});
  ops_.attention(params);
  for (const SequenceInput& input : inputs) {
    if (!input.tokens.empty()) input.state->layers[static_cast<size_t>(index)]->commit(ops_);
  }
  ops_.linear({view(plan_.mixed, type, {rows, config.q_width()}), layer.output, layer.output_bias,
               view(plan_.delta, type, {rows, config.hidden})});
}

void Forward::feed_forward(const LayerWeights& layer, int64_t rows) {
  const ModelConfig& config = weights_.config;
  const DType type = ops_.activation();
  const Tensor gate_up = view(plan_.gate_up, type, {rows, 2 * config.ffn});
  const Tensor hidden = view(plan_.hidden, type, {rows, config.ffn});
  ops_.linear({view(plan_.normed, type, {rows, config.hidden}), layer.gate_up, Tensor(), gate_up});
  ops_.swiglu({gate_up, hidden});
  ops_.linear({hidden, layer.down, Tensor(), view(plan_.delta, type, {rows, config.hidden})});
}

Tensor Forward::logits(const Tensor& hidden, int64_t begin, int64_t count) {
  KVG_CHECK(count <= logits_rows_, "more rows of logits than planned");
  const Tensor out = view(plan_.logits, ops_.activation(), {count, weights_.config.vocab});
  ops_.linear({hidden.rows(begin, count), weights_.head, Tensor(), out});
  return out;
}

std::vector<double> Forward::nll(const Tensor& hidden, int64_t begin,
                                 std::span<const int32_t> targets) {
  std::vector<double> result(targets.size());
  const auto total = static_cast<int64_t>(targets.size());
  auto* base = static_cast<uint8_t*>(memory_->data());
  for (int64_t done = 0; done < total;) {
    const int64_t count = std::min(logits_rows_, total - done);
    const Tensor rows = logits(hidden, begin + done, count);
    ops_.copy(base + plan_.targets, targets.data() + done,
              static_cast<size_t>(count) * sizeof(int32_t));
    const Tensor nll = view(plan_.nll, DType::f64, {count});
    ops_.nll({rows, view(plan_.targets, DType::i32, {count}), nll});
    ops_.copy(result.data() + done, nll.data, nll.bytes());
    done += count;
  }
  return result;
}

}  // namespace kvg
