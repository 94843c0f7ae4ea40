#pragma once

#include "model/config.h"

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
//   "rope_bf16_angles": boolean (RopeSettings::bf16_angles).
// Whether there is a write gate and a learned summary rate is read from the tensors present.
// The caller sets `name`, compares with the tensors, then validates.
ModelConfig parse_hf_config(std::string_view text, const std::string& where);

}  // namespace kvg
