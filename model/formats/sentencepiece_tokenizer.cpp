#include "model/formats/sentencepiece_tokenizer.h"

#include "base/error.h"
#include "base/sha256.h"
#include "model/formats/mapped_file.h"

#include <limits>

#include <sentencepiece_processor.h>

namespace kvg {

namespace {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const std::filesystem::path& path) : path_(path) {
    const MappedFile file(path);
    // Protocol buffers count in int.
    if (file.text().empty() || file.text().size() > std::numeric_limits<int>::max()) {
      throw Error(path.string(), "", std::to_string(file.text().size()) + " bytes",
                  "a SentencePiece model");
    }
    const sentencepiece::util::Status status = processor_.LoadFromSerializedProto(file.text());
    if (!status.ok()) {
      throw Error(path.string(), "", status.ToString(), "a SentencePiece model");
    }
    hash_ = sha256(file.text());
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int> tokens;
    require(processor_.Encode(text, &tokens), "encode");
    return tokens;
  }

  std::string decode(std::span<const int32_t> tokens) const override {
    for (const int32_t token : tokens) check_token(token);
    std::string text;
    require(processor_.Decode(std::vector<int>(tokens.begin(), tokens.end()), &text), "decode");
    return text;
  }

  std::string piece(int32_t token) const override {
    check_token(token);
    return processor_.IdToPiece(token);
  }

  int64_t vocab() const override { return processor_.GetPieceSize(); }
  int32_t bos() const override { return processor_.bos_id(); }
  int32_t eos() const override { return processor_.eos_id(); }
  std::string hash() const override { return hash_; }

 private:
  void check_token(int32_t token) const {
    if (token < 0 || token >= processor_.GetPieceSize()) {
      throw Error(path_.string(), "token", std::to_string(token),
                  "0 to " + std::to_string(processor_.GetPieceSize() - 1));
    }
  }

  void require(const sentencepiece::util::Status& status, const char* what) const {
    if (!status.ok()) throw Error(path_.string(), what, status.ToString(), "success");
  }

  std::filesystem::path path_;
  sentencepiece::SentencePieceProcessor processor_;
  std::string hash_;
};

}  // namespace

std::unique_ptr<Tokenizer> open_sentencepiece(const std::filesystem::path& path) {
  return std::make_unique<SentencePieceTokenizer>(path);
}

}  // namespace kvg
