#pragma once

#include "kernels/ops.h"
#include "model/weights.h"

#include <cstdint>
#include <functional>
#include <memory>

namespace kvg {

// What prepare_heads makes of the rows of one layer, and where attention leaves its result.
struct HeadTensors {
  Tensor q;       // [frames * rows, streams, H, head_dim]
  Tensor k;       // [rows, Hkv, head_dim]
  Tensor v;       // [rows, Hkv, head_dim]
  Tensor gate;    // [rows] wide
  Tensor lambda;  // [rows, H] wide, empty for one stream
  Tensor out;     // [rows, H, head_dim]
};

// All of a pass through the model but the caches: prefill (Forward) and decode (DecodeBatch) place
// rows and attend in their own ways, the rest is here. Buffers are planned once, for `max_rows`.
class Pass {
 public:
  // `frames` of the queries, see PrepareHeadsParams. Throws Error when the buffers do not fit.
  Pass(const Weights& weights, Ops& ops, int frames, int64_t max_rows, int64_t logits_rows);

  // The rows that run() works on, to be written before it.
  Tensor tokens(int64_t rows) const { return tensors_.tokens.rows(0, rows); }        // i32
  Tensor positions(int64_t rows) const { return tensors_.positions.rows(0, rows); }  // i64
  // i64; empty for one frame.
  Tensor bank_positions(int64_t rows) const {
    return frames_ == 2 ? tensors_.bank_positions.rows(0, rows) : Tensor();
  }

  // Attends in one layer: the rows into its caches, from q to `out`. Entered under Phase::rope.
  using Attend = std::function<void(int layer, const HeadTensors& heads)>;
  // Entered under Phase::embed, to which placing the rows belongs. Returns the final hidden states,
  // normalised: [rows, hidden], valid until the next call.
  Tensor run(int64_t rows, const Attend& attend);

  // The steps of run(), for whoever has several stretches of rows on their way through the layers
  // at once (one frame of queries). embed() and finish() are of rows [0, rows).
  struct Stretch {
    int64_t begin = 0, rows = 0;
    Tensor of(const Tensor& tensor) const { return tensor.rows(begin, rows); }
  };
  void embed(int64_t rows);
  // Norm, projection, RoPE; leaves Phase::rope.
  HeadTensors begin_layer(int layer, const Stretch& stretch);
  // The output projection, after attention.
  void mix_heads(int layer, const Stretch& stretch);
  void feed_forward(int layer, const Stretch& stretch);
  Tensor finish(int64_t rows);
  // [hidden rows, vocab] wide, valid until the next call; at most logits_rows of them.
  Tensor logits(const Tensor& hidden);

  int frames() const { return frames_; }
  const Weights& weights() const { return weights_; }
  Ops& ops() const { return ops_; }
  double attention_scale() const;

 private:
  struct Tensors {
    Tensor tokens, positions, bank_positions, x, normed, fused, q, k, v, lambda, gate, mixed, delta,
        gate_up, hidden, logits;
  };
  Tensors place(void* base, int64_t max_rows, int64_t logits_rows, size_t* total) const;
  HeadTensors project(const LayerWeights& layer, int index, const Stretch& stretch);
  void transform(const LayerWeights& layer, const Stretch& stretch);

  const Weights& weights_;
  Ops& ops_;
  int frames_;
  std::unique_ptr<Buffer> memory_;
  Tensors tensors_;
};

}  // namespace kvg
