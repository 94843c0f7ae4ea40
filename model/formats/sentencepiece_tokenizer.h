#pragma once

#include "model/tokenizer.h"

#include <filesystem>
#include <memory>

namespace kvg {

// A SentencePiece model (github.com/google/sentencepiece). The model itself says how text is
// normalised; the Llama and Mistral ones put a space in front, which decode() takes away again, and
// keep all others. Bytes that are not UTF-8 are read as U+FFFD each, so they do not survive a round
// trip. Throws Error naming the file when it cannot be read or is no such model.
std::unique_ptr<Tokenizer> open_sentencepiece(const std::filesystem::path& path);

}  // namespace kvg
