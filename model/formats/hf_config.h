#pragma once

#include "model/config.h"

#include <optional>
#include <string>
#include <string_view>

namespace kvg {

// Reads the text of a Hugging Face config.json of a LlamaForCausalLM or MistralForCausalLM, as
// written by transformers 4 or 5; `where` names the file in errors. Absent keys have the defaults
// of transformers. What the forward pass does not do is refused: scaled RoPE, other activations,
// MLP biases.
//
// An object `kvgauge` adds what Hugging Face has no words for:
//   "attention": "gqa" (default) or "coda"; "head_norm": boolean (coda);
//   "second_map": "subtract" (default) or "add", how coda combines its two streams;
//   "rope_bf16_angles": boolean (RopeSettings::bf16_angles);
//   "base", "base_hash": HfBase.
// Whether there is a write gate and a learned summary rate is read from the tensors present.
// The caller sets `name`, compares with the tensors, then validates.
ModelConfig parse_hf_config(std::string_view text, const std::string& where);

// Where the tensors come from that a folder itself does not hold.
struct HfBase {
  std::string source;  // the name of a zoo model, or a path relative to the folder
  std::string hash;    // SHA-256 of the base's model.safetensors; empty: not said
};

// The base that the same text names: "kvgauge": {"base": SOURCE, "base_hash": HASH}; nothing where
// there is none. Throws Error as parse_hf_config() does.
std::optional<HfBase> parse_hf_base(std::string_view text, const std::string& where);

}  // namespace kvg
