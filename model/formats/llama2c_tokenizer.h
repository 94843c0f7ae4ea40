#pragma once

#include "model/tokenizer.h"

#include <filesystem>
#include <memory>

namespace kvg {

// The tokenizer.bin of llama2.c: a uint32 with the length of the longest piece, then for each piece
// a float32 score, an int32 length and its bytes, to the end of the file. Pieces 0, 1, 2 are <unk>,
// BOS and EOS; 3 + b is the byte b, used for characters that have no piece. Text is encoded like
// SentencePiece's BPE does: a space in front, then the neighbours whose union has the best score
// are merged, leftmost first. decode() takes that space away again, and leaves out BOS and EOS. Any
// bytes survive a round trip. Throws Error naming the file when it is damaged.
std::unique_ptr<Tokenizer> open_llama2c_tokenizer(const std::filesystem::path& path);

}  // namespace kvg
