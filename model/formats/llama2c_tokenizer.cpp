#include "model/formats/llama2c_tokenizer.h"

#include "base/error.h"
#include "base/sha256.h"
#include "model/formats/mapped_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <queue>
#include <unordered_map>

#include <fmt/format.h>

namespace kvg {

namespace {

constexpr int32_t kBos = 1;
constexpr int32_t kEos = 2;
constexpr int32_t kFirstByte = 3;
constexpr int32_t kFirstPiece = kFirstByte + 256;
constexpr int32_t kNone = -1;

// Length of the UTF-8 character at the start of `text`, or 1 when there is none.
size_t character_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  if (length > text.size()) return 1;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 1;
  }
  return length;
}

class Llama2cTokenizer final : public Tokenizer {
 public:
  explicit Llama2cTokenizer(const std::filesystem::path& path) : path_(path) {
    const MappedFile file(path);
    read_pieces(file.text());
    hash_ = sha256(file.text());
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    if (text.empty()) return {};
    std::string spaced(1, ' ');
    spaced += text;
    std::vector<Symbol> symbols = split_characters(spaced);
    merge(spaced, &symbols);
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < symbols.size(); ++i) {
      if (symbols[i].token != kNone) tokens.push_back(symbols[i].token);
    }
    return tokens;
  }

  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    bool first = true;
    for (const int32_t token : tokens) {
      check_token(token);
      if (token == kBos || token == kEos) continue;
      if (token >= kFirstByte && token < kFirstPiece) {
        text.push_back(static_cast<char>(token - kFirstByte));
      } else {
        std::string_view piece = pieces_[static_cast<size_t>(token)];
        if (first && piece.starts_with(' ')) piece.remove_prefix(1);
        text += piece;
      }
      first = false;
    }
    return text;
  }

  std::string piece(int32_t token) const override {
    check_token(token);
    return pieces_[static_cast<size_t>(token)];
  }

  int64_t vocab() const override { return static_cast<int64_t>(pieces_.size()); }
  int32_t bos() const override { return kBos; }
  int32_t eos() const override { return kEos; }
  std::string hash() const override { return hash_; }

 private:
  // A run of bytes of the text; merged into its left neighbour it has no token any more.
  struct Symbol {
    size_t begin = 0;
    size_t length = 0;
    int32_t token = kNone;
    size_t previous = 0, next = 0;  // indices of neighbours; past the end: none
  };
  struct Merge {
    float score;
    size_t left, right;
    size_t length;  // of both together when it was found; another one means that it is stale
    int32_t token;
    bool operator<(const Merge& other) const {  // for a queue with the best on top
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  void read_pieces(std::string_view bytes) {
    size_t at = 0;
    const auto take = [&](auto* value) {
      if (bytes.size() - at < sizeof(*value)) refuse("the file ends within a piece");
      std::memcpy(value, bytes.data() + at, sizeof(*value));
      at += sizeof(*value);
    };
    uint32_t longest = 0;
    take(&longest);
    while (at < bytes.size()) {
      float score = 0;
      int32_t length = 0;
      take(&score);
      take(&length);
      if (length < 0 || static_cast<size_t>(length) > bytes.size() - at || !std::isfinite(score)) {
        refuse(fmt::format("length {} and score {}", length, score));
      }
      const auto token = static_cast<int32_t>(pieces_.size());
      pieces_.emplace_back(bytes.substr(at, static_cast<size_t>(length)));
      scores_.push_back(score);
      at += static_cast<size_t>(length);
      if (token >= kFirstByte && token < kFirstPiece &&
          pieces_.back() != fmt::format("<0x{:02X}>", token - kFirstByte)) {
        refuse("\"" + pieces_.back() + "\" for a byte");
      }
      if (token >= kFirstPiece) tokens_.emplace(pieces_.back(), token);
    }
    if (pieces_.size() < kFirstPiece) refuse("only " + std::to_string(pieces_.size()) + " pieces");
  }

  [[noreturn]] void refuse(const std::string& found) const {
    throw Error(path_.string(), "piece " + std::to_string(pieces_.size()), found,
                "a tokenizer.bin of llama2.c");
  }

  void check_token(int32_t token) const {
    if (token < 0 || token >= vocab()) {
      throw Error(path_.string(), "token", std::to_string(token),
                  fmt::format("0 to {}", vocab() - 1));
    }
  }

  int32_t find(std::string_view text) const {
    const auto found = tokens_.find(std::string(text));
    return found == tokens_.end() ? kNone : found->second;
  }

  std::vector<Symbol> split_characters(std::string_view text) const {
    std::vector<Symbol> symbols;
    for (size_t at = 0; at < text.size();) {
      const size_t length = character_length(text.substr(at));
      const int32_t token = find(text.substr(at, length));
      if (token != kNone) {
        symbols.push_back({at, length, token});
      } else {
        for (size_t i = 0; i < length; ++i) {
          const auto byte = static_cast<unsigned char>(text[at + i]);
          symbols.push_back({at + i, 1, kFirstByte + byte});
        }
      }
      at += length;
    }
    for (size_t i = 0; i < symbols.size(); ++i) {
      symbols[i].previous = i - 1;  // wraps to past the end for the first
      symbols[i].next = i + 1;
    }
    return symbols;
  }

  std::optional<Merge> merge_of(std::string_view text, const std::vector<Symbol>& symbols,
                                size_t left, size_t right) const {
    if (left >= symbols.size() || right >= symbols.size()) return std::nullopt;
    const Symbol& a = symbols[left];
    const Symbol& b = symbols[right];
    // Bytes without a character of their own never merge.
    if (a.token < kFirstPiece || b.token < kFirstPiece) return std::nullopt;
    const size_t length = a.length + b.length;
    const int32_t token = find(text.substr(a.begin, length));
    if (token == kNone) return std::nullopt;
    return Merge{scores_[static_cast<size_t>(token)], left, right, length, token};
  }

  void merge(std::string_view text, std::vector<Symbol>* symbols_out) const {
    std::vector<Symbol>& symbols = *symbols_out;
    std::priority_queue<Merge> queue;
    const auto consider = [&](size_t left, size_t right) {
      if (const std::optional<Merge> found = merge_of(text, symbols, left, right)) {
        queue.push(*found);
      }
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(i, i + 1);
    while (!queue.empty()) {
      const Merge best = queue.top();
      queue.pop();
      Symbol& left = symbols[best.left];
      Symbol& right = symbols[best.right];
      const bool alive = left.token != kNone && right.token != kNone;
      if (!alive || left.length + right.length != best.length) continue;
      left.length = best.length;
      left.token = best.token;
      left.next = right.next;
      right.token = kNone;
      if (left.next < symbols.size()) symbols[left.next].previous = best.left;
      consider(left.previous, best.left);
      consider(best.left, left.next);
    }
  }

  std::filesystem::path path_;
  std::vector<std::string> pieces_;
  std::vector<float> scores_;
  std::unordered_map<std::string, int32_t> tokens_;  // pieces that text may become
  std::string hash_;
};

}  // namespace

std::unique_ptr<Tokenizer> open_llama2c_tokenizer(const std::filesystem::path& path) {
  return std::make_unique<Llama2cTokenizer>(path);
}

}  // namespace kvg
