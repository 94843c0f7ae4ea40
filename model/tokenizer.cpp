#include "model/tokenizer.h"

#include "base/error.h"
#include "model/formats/llama2c_tokenizer.h"
#include "model/formats/sentencepiece_tokenizer.h"

namespace kvg {

std::unique_ptr<Tokenizer> Tokenizer::open(const std::filesystem::path& path) {
  if (path.extension() == ".model") return open_sentencepiece(path);
  if (path.extension() == ".bin") return open_llama2c_tokenizer(path);
  throw Error(path.string(), "", "a tokenizer of unknown kind",
              "a SentencePiece .model or a llama2.c .bin file");
}

}  // namespace kvg
