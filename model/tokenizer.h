#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// Text to token ids and back. Encoding adds no special tokens: callers place BOS themselves.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;
  // The piece as stored ("▁the", "<0x0A>"), for showing tokens.
  virtual std::string piece(int32_t token) const = 0;
  virtual int64_t vocab() const = 0;
  virtual int32_t bos() const = 0;  // -1: none
  virtual int32_t eos() const = 0;  // -1: none
  virtual std::string hash() const = 0;

  // A SentencePiece tokenizer.model or a llama2.c tokenizer.bin (recognised by its extension).
  // Throws Error naming the file.
  static std::unique_ptr<Tokenizer> open(const std::filesystem::path& path);
};

}  // namespace kvg
