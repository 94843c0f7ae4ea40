#include "datasets/generated/text.h"

#include "datasets/generated/documents.h"
#include "datasets/generated/grammar.h"

#include <fmt/format.h>

namespace kvg {
namespace {

std::string document(uint64_t seed) {
  Writer writer(Grammar::built_in(), seed);
  const double kind = static_cast<double>(writer.below(100));
  if (kind < 38) return write_story(writer);
  if (kind < 55) return write_article(writer);
  if (kind < 68) return write_chat(writer);
  if (kind < 82) return write_code(writer);
  return kind < 91 ? write_table(writer) : write_log(writer);
}

}  // namespace

std::string generated_text(int64_t bytes, uint64_t seed) {
  std::string text;
  for (uint64_t number = 0; std::ssize(text) < bytes; ++number) {
    if (number > 0) text += '\0';
    text += document(mix_seed({seed, name_seed("generated text"), number}));
  }
  return text;
}

std::string generated_text_name(int64_t bytes, uint64_t seed) {
  return fmt::format("generated(version={},seed={},bytes={})", kGeneratedTextVersion, seed, bytes);
}

}  // namespace kvg
