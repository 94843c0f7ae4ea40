#pragma once

#include "kernels/ops.h"
#include "model/checkpoint.h"
#include "model/formats/coda_adapters.h"
#include "model/tokenizer.h"
#include "model/weights.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace kvg::cli {

// How a model is named and opened on the command line.
struct ModelOptions {
  std::string model = "kvg-tiny";
  uint64_t model_seed = 0;
  std::string ops = "auto";
  int threads = 0;
  std::string adapters;  // of coda-gqa-l, beside the model; empty: none
  std::string missing_gates = "init";
  double rope_base = 0;  // 0: the checkpoint's
  bool rope_bf16 = false;
  int64_t layers = 0;  // only the first of the model's; 0: all
  bool nvtx = false;   // cuda: phases as ranges for Nsight
  bool quiet = false;  // nothing on standard error about what was assumed
};

// Returns the option that names the model.
CLI::Option* add_model_options(CLI::App& app, ModelOptions& options);

// A checkpoint with its tokenizer, its operations and its weights in memory.
struct LoadedModel {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;  // null where the checkpoint has none
  std::unique_ptr<Ops> ops;
  Weights weights;
  int64_t full_layers = 0;  // before ModelOptions::layers
  std::vector<Assumption> assumptions;
};

// Also says on standard error, one line each, what it assumed that no file says.
LoadedModel load_model(const ModelOptions& options);

// A set of operations by its name: cpu, reference, or, where it is compiled in, cuda. `nvtx`:
// phases as ranges for Nsight, which only cuda has.
std::unique_ptr<Ops> make_ops(const std::string& name, int threads, bool nvtx = false);
// What "auto" stands for: cuda where it is compiled in, there is a GPU and its kernels know the
// model's head_dim; cpu otherwise.
std::string best_ops(const ModelConfig& config);

// Tokens of a prefill call when the command line does not say (0): as many as keep the set busy.
int64_t chunk_or_default(int64_t chunk, const Ops& ops);

// The tokenizer, or an Error that names the model that has none.
const Tokenizer& require_tokenizer(const LoadedModel& model);

}  // namespace kvg::cli
