#pragma once

#include <cstdint>
#include <string>

namespace kvg {

// Raised whenever the same seed would give another text.
inline constexpr int kGeneratedTextVersion = 1;

// At least `bytes` of English-like text, cut at the end of a document: prose, chat logs, code,
// tables and logs, in documents of up to 6 KB separated by NUL bytes. The same seed gives the same
// text, and a shorter text is the beginning of a longer one.
std::string generated_text(int64_t bytes, uint64_t seed);

// "generated(version=1,seed=0,bytes=65536)"
std::string generated_text_name(int64_t bytes, uint64_t seed);

}  // namespace kvg
