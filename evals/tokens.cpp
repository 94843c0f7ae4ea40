#include "evals/tokens.h"

#include "base/error.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace kvg {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.back() == '>' &&
         std::isxdigit(static_cast<unsigned char>(piece[3])) != 0 &&
         std::isxdigit(static_cast<unsigned char>(piece[4])) != 0;
}

int64_t piece_bytes(std::string_view piece) {
  if (is_byte_piece(piece)) return 1;
  auto bytes = static_cast<int64_t>(piece.size());
  for (size_t at = piece.find(kSpaceMark); at != std::string_view::npos;
       at = piece.find(kSpaceMark, at + kSpaceMark.size())) {
    bytes -= 2;  // the mark stands for one space
  }
  return bytes;
}

}  // namespace

std::vector<int32_t> encode_after(const Tokenizer& tokenizer, std::string_view text) {
  // A newline is a piece of its own in the vocabularies at hand, so no merge crosses it.
  const std::vector<int32_t> anchor = tokenizer.encode("\n");
  std::string anchored = "\n";
  anchored += text;
  std::vector<int32_t> tokens = tokenizer.encode(anchored);
  if (tokens.size() < anchor.size() || !std::equal(anchor.begin(), anchor.end(), tokens.begin())) {
    return tokenizer.encode(text);
  }
  tokens.erase(tokens.begin(), tokens.begin() + std::ssize(anchor));
  return tokens;
}

std::vector<int64_t> byte_ends(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                               std::string_view text) {
  std::vector<int64_t> ends;
  ends.reserve(tokens.size());
  int64_t end = 0;
  for (const int32_t token : tokens) ends.push_back(end += piece_bytes(tokenizer.piece(token)));
  const int64_t added = end - static_cast<int64_t>(text.size());  // the space before the text
  if (added != 0 && added != 1) return {};
  for (int64_t& value : ends) value -= added;
  return ends;
}

std::pair<int64_t, int64_t> token_span(std::span<const int64_t> ends, int64_t begin, int64_t end) {
  const auto first = std::upper_bound(ends.begin(), ends.end(), begin);
  const auto last = std::lower_bound(first, ends.end(), end);
  return {first - ends.begin(), std::min(last - ends.begin() + 1, std::ssize(ends))};
}

std::vector<int32_t> with_bos(const Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  if (tokenizer.bos() < 0) {
    throw Error("tokenizer", "BOS", "none", "a beginning-of-sequence token to start from");
  }
  std::vector<int32_t> result = {tokenizer.bos()};
  result.insert(result.end(), tokens.begin(), tokens.end());
  return result;
}

}  // namespace kvg
