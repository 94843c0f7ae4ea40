#pragma once

#include "model/checkpoint.h"

#include <filesystem>
#include <memory>

namespace kvg {

// A checkpoint of llama2.c (github.com/karpathy/llama2.c): fp32, one file, RoPE on interleaved
// pairs. Read are the legacy format (7 int32: width, ffn, layers, heads, KV heads, vocabulary,
// context, with a negative vocabulary for an untied head) and version 1 (256-byte header with the
// magic "ak42"). The tokenizer is a tokenizer.bin in the same folder, if there is one. Throws Error
// naming the file when the header is absurd or does not match the size of the file.
std::unique_ptr<Checkpoint> open_llama2c(const std::filesystem::path& path);

}  // namespace kvg
