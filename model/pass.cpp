#include "model/pass.h"

#include "model/placer.h"

#include <cmath>

namespace kvg {

Pass::Pass(const Weights& weights, Ops& ops, int frames, int64_t max_rows, int64_t logits_rows)
    : weights_(weights), ops_(ops), frames_(frames) {
  KVG_CHECK(max_rows > 0 && logits_rows > 0, "a pass needs rows");
  size_t total = 0;
  (void)place(nullptr, max_rows, logits_rows, &total);
  memory_ = ops.allocate(total);
  tensors_ = place(memory_->data(), max_rows, logits_rows, &total);
}

Pass::Tensors Pass::place(void* base, int64_t max_rows, int64_t logits_rows, size_t* total) const {
  const ModelConfig& config = weights_.config;
  const DType type = ops_.activation();
  Placer placer(base);
  const auto take = [&](DType dtype, std::initializer_list<int64_t> shape) {
    return placer.tensor(ops_, dtype, shape);
  };
  Tensors t;
  t.tokens = take(DType::i32, {max_rows});
  t.positions = take(DType::i64, {max_rows});
  if (frames_ == 2) t.bank_positions = take(DType::i64, {max_rows});
  t.x = take(type, {max_rows, config.hidden});
  t.normed = take(type, {max_rows, config.hidden});
  t.fused = take(type, {max_rows, config.fused_width()});
  t.q = take(type, {frames_ * max_rows, config.streams(), config.heads, config.head_dim});
  t.k = take(type, {max_rows, config.kv_heads, config.head_dim});
  t.v = take(type, {max_rows, config.kv_heads, config.head_dim});
  if (config.coda) t.lambda = take(wide(type), {max_rows, config.heads});
  t.gate = take(wide(type), {max_rows});
  t.mixed = take(type, {max_rows, config.heads, config.head_dim});
  t.delta = take(type, {max_rows, config.hidden});
  t.gate_up = take(type, {max_rows, 2 * config.ffn});
  t.hidden = take(type, {max_rows, config.ffn});
  t.logits = take(wide(type), {logits_rows, config.vocab});
  *total = placer.used();
  return t;
}

Tensor Pass::run(int64_t rows, const Attend& attend) {
  embed(rows);
  for (int l = 0; l < static_cast<int>(weights_.config.layers); ++l) {
    attend(l, begin_layer(l, {0, rows}));
    mix_heads(l, {0, rows});
    feed_forward(l, {0, rows});
  }
  return finish(rows);
}

void Pass::embed(int64_t rows) {
  ops_.embed({tokens(rows), weights_.embedding, tensors_.x.rows(0, rows)});
}

HeadTensors Pass::begin_layer(int layer, const Stretch& stretch) {
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer)];
  ops_.phase(Phase::qkv, layer);
  // The residual of the previous layer's feed-forward is added where the next norm reads it.
  ops_.rms_norm({stretch.of(tensors_.x), layer == 0 ? Tensor() : stretch.of(tensors_.delta),
                 weights.attention_norm, weights_.config.rms_eps, stretch.of(tensors_.normed)});
  return project(weights, layer, stretch);
}

void Pass::mix_heads(int layer, const Stretch& stretch) {
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer)];
  ops_.phase(Phase::output, layer);
  Tensor mixed = stretch.of(tensors_.mixed);
  mixed.rank = 2;
  mixed.shape = {stretch.rows, weights_.config.q_width(), 0, 0};
  ops_.linear({mixed, weights.output, weights.output_bias, stretch.of(tensors_.delta)});
}

void Pass::feed_forward(int layer, const Stretch& stretch) {
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(layer)];
  ops_.phase(Phase::mlp, layer);
  ops_.rms_norm({stretch.of(tensors_.x), stretch.of(tensors_.delta), weights.ffn_norm,
                 weights_.config.rms_eps, stretch.of(tensors_.normed)});
  transform(weights, stretch);
}

Tensor Pass::finish(int64_t rows) {
  const Tensor normed = tensors_.normed.rows(0, rows);
  ops_.phase(Phase::head, -1);
  ops_.rms_norm({tensors_.x.rows(0, rows), tensors_.delta.rows(0, rows), weights_.final_norm,
                 weights_.config.rms_eps, normed});
  return normed;
}

HeadTensors Pass::project(const LayerWeights& layer, int index, const Stretch& stretch) {
  const ModelConfig& config = weights_.config;
  KVG_CHECK(frames_ == 1 || stretch.begin == 0, "several stretches: one frame of queries");
  const Tensor fused = stretch.of(tensors_.fused);
  ops_.linear({stretch.of(tensors_.normed), layer.fused, layer.fused_bias, fused});

  ops_.phase(Phase::rope, index);
  HeadTensors heads;
  heads.q = tensors_.q.rows(stretch.begin, frames_ * stretch.rows);
  heads.k = stretch.of(tensors_.k);
  heads.v = stretch.of(tensors_.v);
  heads.gate = stretch.of(tensors_.gate);
  if (config.coda) heads.lambda = stretch.of(tensors_.lambda);
  heads.out = stretch.of(tensors_.mixed);
  PrepareHeadsParams params;
  params.fused = fused;
  params.positions = stretch.of(tensors_.positions);
  params.bank_positions = bank_positions(stretch.rows);
  params.rope = config.rope;
  params.heads = config.heads;
  params.kv_heads = config.kv_heads;
  params.head_dim = config.head_dim;
  params.theta = layer.theta;
  params.lambda_column = config.lambda_column();
  params.negate_lambda = config.add_second_map;
  params.gate_column = config.gate_column();
  params.q = heads.q;
  params.k = heads.k;
  params.v = heads.v;
  params.lambda = heads.lambda;
  params.gate = heads.gate;
  ops_.prepare_heads(params);
  return heads;
}

void Pass::transform(const LayerWeights& layer, const Stretch& stretch) {
  const Tensor gate_up = stretch.of(tensors_.gate_up);
  const Tensor hidden = stretch.of(tensors_.hidden);
  ops_.gated_linear({stretch.of(tensors_.normed), layer.gate_up, gate_up, hidden});
  ops_.linear({hidden, layer.down, Tensor(), stretch.of(tensors_.delta)});
}

Tensor Pass::logits(const Tensor& hidden) {
  const Tensor out = tensors_.logits.rows(0, hidden.size(0));
  ops_.phase(Phase::head, -1);
  ops_.linear({hidden, weights_.head, Tensor(), out});
  return out;
}

double Pass::attention_scale() const {
  return 1.0 / std::sqrt(static_cast<double>(weights_.config.head_dim));
}

}  // namespace kvg
