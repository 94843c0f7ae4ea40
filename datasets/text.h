#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kvg {

// A text and what is needed to get it again.
struct Text {
  std::string name;  // "generated(version=1,seed=0,bytes=65536)", "wikitext2", or the file's name
  std::string content;  // documents joined by blank lines
  std::string sha256;   // of what was read
};

// Reads a text source:
//   "generated"   diverse text written by the project (datasets/generated), `bytes` long, from
//   `seed` "wikitext2"   the raw test set of WikiText-2, $KVG_DATA/wikitext2/wiki.test.raw, whole
//   anything else a file, whole; NUL bytes separate documents
// `bytes` bounds `generated` only. Throws Error naming the file and what was expected.
Text load_text(std::string_view source, int64_t bytes, uint64_t seed);

}  // namespace kvg
