#pragma once

#include "kernels/ops.h"
#include "model/checkpoint.h"

#include <memory>
#include <vector>

namespace kvg {

struct LayerWeights {
  Tensor attention_norm;  // [hidden]
  Tensor fused;           // [fused_width, hidden]: q, k, v, lambda, write gate
  Tensor fused_bias;      // [fused_width] or empty
  Tensor theta;           // [H, head_dim/2] wide, or empty
  Tensor summary_eta;     // [Hkv] rates in (0,1), sigmoid already applied; host f64, empty: none
  Tensor head_norm;       // [head_dim] or empty
  Tensor output;          // [hidden, H * head_dim]
  Tensor output_bias;     // [hidden] or empty
  Tensor ffn_norm;        // [hidden]
  Tensor gate_up;         // [2 * ffn, hidden]
  Tensor down;            // [hidden, ffn]
};

// A model's weights, converted to a set's own type and laid out for its operations.
struct Weights {
  ModelConfig config;
  Tensor embedding;   // [vocab, hidden]
  Tensor final_norm;  // [hidden]
  Tensor head;        // [vocab, hidden]; the embedding itself when tied
  std::vector<LayerWeights> layers;
  std::vector<std::unique_ptr<Buffer>> memory;
  std::vector<std::vector<double>> host_memory;

  // Checks every tensor's presence and shape and that no value is NaN or infinite; throws Error
  // naming file, tensor, found and expected. Throws Error when the weights do not fit in memory.
  static Weights load(const Checkpoint& checkpoint, Ops& ops);
};

}  // namespace kvg
