#pragma once

#include "model/checkpoint.h"

#include <filesystem>
#include <memory>

namespace kvg {

// A folder as Hugging Face writes it: config.json, model.safetensors or its index and parts, and
// tokenizer.model if the model has one. Throws Error when a file is missing or damaged, or when
// config.json and the tensors disagree on what kind of attention it is.
std::unique_ptr<Checkpoint> open_hf_folder(const std::filesystem::path& folder);

}  // namespace kvg
