#pragma once

#include "kernels/ops.h"

#include <cstdint>
#include <string>
#include <vector>

namespace kvg {

// The geometry of a Llama-family decoder and its options. head_dim is independent of hidden /
// heads.
struct ModelConfig {
  std::string name;          // folder or preset name, for reports
  std::string architecture;  // "LlamaForCausalLM", "MistralForCausalLM"
  int64_t hidden = 0;
  int64_t layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int64_t ffn = 0;
  int64_t vocab = 0;
  int64_t max_positions = 0;   // context the model was trained for; 0: unknown
  int64_t sliding_window = 0;  // of the checkpoint itself (Mistral v0.1); 0: none
  double rms_eps = 1e-5;
  RopeSettings rope;
  bool tied_head = false;
  bool attention_bias = false;  // biases on q, k, v, o (read from the tensors present)
  int32_t bos = 1;
  std::vector<int32_t> eos = {2};

  // Differential attention (the `coda` attention): theta and lambda per layer.
  bool coda = false;
  bool add_second_map = false;  // o_0 + lambda o_1 instead of o_0 - lambda o_1
  bool write_gate = false;      // write_proj present; without it every gate is 1
  bool summary_eta = false;     // summary_eta_logit present; without it the rate is sigmoid(-3)
  bool head_norm = false;       // RMSNorm over head_dim after the two streams are combined

  int streams() const { return coda ? 2 : 1; }
  int64_t q_width() const { return int64_t{heads} * head_dim; }
  int64_t kv_width() const { return int64_t{kv_heads} * head_dim; }
  // Columns of the fused projection: q, k, v, then lambda (heads) and the write gate (1) if
  // present.
  int lambda_column() const { return coda ? static_cast<int>(q_width() + 2 * kv_width()) : -1; }
  int gate_column() const {
    return write_gate ? static_cast<int>(q_width() + 2 * kv_width()) + (coda ? heads : 0) : -1;
  }
  int64_t fused_width() const {
    return q_width() + 2 * kv_width() + (coda ? heads : 0) + (write_gate ? 1 : 0);
  }
  int64_t parameters() const;

  // Throws Error naming `where` and the key when a value is missing, absurd or inconsistent.
  void validate(const std::string& where) const;
};

}  // namespace kvg
