#pragma once

#include "bench/latency/forwarding_ops.h"
#include "kernels/dtype.h"
#include "model/weights.h"

namespace kvg::cli {

// The host's single precision with every activation rounded to bf16 where a bf16 set stores it:
// what rounding alone does to a model, without another line of code of that set.
class RoundedOps : public ForwardingOps {
 public:
  // `weights` are those of the model that runs on it; its logits stay as they are.
  RoundedOps(Ops& inner, const Weights& weights) : ForwardingOps(inner), head_(weights.head.data) {}

  void rms_norm(const RmsNormParams& p) override {
    inner_.rms_norm(p);
    round(p.out);
    if (p.delta) round(p.x);
  }
  void linear(const LinearParams& p) override {
    inner_.linear(p);
    if (p.weight.data != head_) round(p.out);
  }
  void swiglu(const SwigluParams& p) override {
    inner_.swiglu(p);
    round(p.out);
  }
  void gated_linear(const GatedLinearParams& p) override { Ops::gated_linear(p); }
  void prepare_heads(const PrepareHeadsParams& p) override {
    inner_.prepare_heads(p);
    round(p.q);
    round(p.k);
    round(p.v);
  }
  void attention(const AttentionParams& p) override {
    inner_.attention(p);
    round(p.out);
  }
  void decode_attention(const DecodeAttentionParams& p) override {
    inner_.decode_attention(p);
    round(p.out);
  }

 private:
  static void round(const Tensor& tensor) {
    float* values = tensor.as<float>();
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      values[i] = bf16_to_float(float_to_bf16(values[i]));
    }
  }

  const void* head_;
};

}  // namespace kvg::cli
