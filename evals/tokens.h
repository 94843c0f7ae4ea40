#pragma once

#include "model/tokenizer.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace kvg {

// Tokens of `text` as they follow other text: without the space that SentencePiece puts before a
// text of its own, so that encode(a) + encode_after(b) reads as one string.
std::vector<int32_t> encode_after(const Tokenizer& tokenizer, std::string_view text);

// Where each token of `text` ends, in bytes from its start; [tokens.size()]. Empty when the pieces
// do not spell the text (unknown pieces, a tokenizer that normalises).
std::vector<int64_t> byte_ends(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                               std::string_view text);

// The tokens that overlap bytes [begin, end) of the text, as [first, last). `ends` from byte_ends.
std::pair<int64_t, int64_t> token_span(std::span<const int64_t> ends, int64_t begin, int64_t end);

// BOS in front. Throws Error for a tokenizer that has none: nothing would predict the first token.
std::vector<int32_t> with_bos(const Tokenizer& tokenizer, std::span<const int32_t> tokens);

}  // namespace kvg
