#pragma once

#include "model/checkpoint.h"

#include <filesystem>
#include <memory>

namespace kvg {

// A folder as Hugging Face writes it: config.json, model.safetensors or its index and parts, and
// tokenizer.model if the model has one. Throws Error when a file is missing or damaged, or when
// config.json and the tensors disagree on what kind of attention it is.
//
// Where config.json names a base ("kvgauge": {"base": ...}, HfBase), the folder is an overlay: what
// it has no tensor or no tokenizer for comes from the base, a folder of the same geometry. Its hash
// covers the files of both.
std::unique_ptr<Checkpoint> open_hf_folder(const std::filesystem::path& folder);

}  // namespace kvg
