#pragma once

#include "kernels/tensor.h"
#include "model/config.h"

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
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
  // The caller is done with a tensor: its view ends and its memory may be reclaimed. A hint; asking
  // for the tensor again is allowed.
  virtual void release(const std::string& name) const = 0;
  // What holds the tensor (or would), for errors: the path of a file, or "preset NAME".
  virtual std::string where(const std::string& name) const = 0;
  // tokenizer.model, or an empty path.
  virtual std::filesystem::path tokenizer_path() const = 0;
  // SHA-256 over config and tensors' files (or preset name and seed): the identity of the model.
  virtual std::string hash() const = 0;

  // `source`: the name of a zoo model, else the name of a preset (random weights from `seed`;
  // forced by "preset:NAME"), else a path: a folder with config.json and *.safetensors, or a
  // llama2.c .bin file. Throws Error naming what was found.
  static std::unique_ptr<Checkpoint> open(const std::string& source, uint64_t seed = 0);
};

// What a model of this geometry consists of, under Hugging Face's names: each tensor once, the head
// only when it is not tied.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // outermost first
};
std::vector<TensorSpec> model_tensors(const ModelConfig& config);
// "model.layers.3.self_attn.theta" for (3, "self_attn.theta").
std::string layer_tensor(int64_t layer, std::string_view part);

// Names for `kvgauge ls` and for suggestions.
std::vector<std::string> preset_names();
std::vector<std::string> zoo_names();
// The geometry alone, without weights (for byte accounting). Throws Error with the nearest name.
ModelConfig preset_config(const std::string& name);

}  // namespace kvg
