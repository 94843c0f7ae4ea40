#pragma once

#include "model/checkpoint.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace kvg {

// The write gates of a model whose adapters have none (they were trained without banks).
enum class MissingGates : uint8_t {
  init,  // published: as the loader of coda-gqa-l leaves them, sigmoid(-2) = 0.1192 for every token
  one,   // 1 for every token
};

// What an adapters' file does not say and its user may.
struct CodaAdapterSettings {
  double rope_base = 0;  // 0: the base model's
  bool rope_bf16 = false;
  MissingGates missing_gates = MissingGates::init;
};

// A setting that was neither in the files nor given: its value, and one line on where that comes
// from and what changes it.
struct Assumption {
  std::string setting;
  std::string value;
  std::string reason;
};

struct CodaAdapters {
  std::unique_ptr<Checkpoint> checkpoint;
  std::vector<Assumption> assumptions;
};

// A model whose attention is replaced by the adapters of coda-gqa-l: `coda_adapters.pt`, as its
// training script saves it (torch.save of {"layer_0": state_dict, ...}, or of a list), or the
// folder that holds it. Everything else is the base model's, tokenizer included. RoPE turns halves
// and theta interleaved pairs, as in the package's adapter for Llama and Mistral.
// Throws Error as TorchFile does, when layers are missing, too many or unlike each other, for
// tensors that have no place, and when the base's attention is not plain.
CodaAdapters open_coda_adapters(std::unique_ptr<Checkpoint> base, const std::filesystem::path& path,
                                const CodaAdapterSettings& settings);

}  // namespace kvg
