#pragma once

#include "kernels/tensor.h"
#include "model/config.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace kvg {

// A source of named host tensors: a Hugging Face folder, a llama2.c file, or seeded random numbers
// at a preset's geometry. Tensor names are Hugging Face's
// ("model.layers.0.self_attn.q_proj.weight", shapes [out, in]); the extra ones of `coda` live
// beside q_proj: theta [H, head_dim/2], lambda_proj.{weight [H, hidden], bias [H]},
// write_proj.{weight [1, hidden], bias [1]}, summary_eta_logit [Hkv], head_norm.weight [head_dim].
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  virtual const ModelConfig& config() const = 0;
  virtual bool has(const std::string& name) const = 0;
  // Throws Error (file, tensor name) when it is absent. The view lives as long as the checkpoint.
  virtual Tensor tensor(const std::string& name) const = 0;
  // tokenizer.model, or an empty path.
  virtual std::filesystem::path tokenizer_path() const = 0;
  // SHA-256 over config and tensors' files (or preset name and seed): the identity of the model.
  virtual std::string hash() const = 0;

  // `source`: a folder with config.json and *.safetensors, a llama2.c .bin file, or the name of a
  // preset (random weights from `seed`) or of a zoo model. Throws Error naming what was found.
  static std::unique_ptr<Checkpoint> open(const std::string& source, uint64_t seed = 0);
};

// Names for `kvgauge ls` and for suggestions.
std::vector<std::string> preset_names();
std::vector<std::string> zoo_names();
// The geometry alone, without weights (for byte accounting). Throws Error with the nearest name.
ModelConfig preset_config(const std::string& name);

}  // namespace kvg
