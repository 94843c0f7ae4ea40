#include "datasets/text.h"

#include "base/error.h"
#include "base/sha256.h"
#include "datasets/generated/text.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kvg {
namespace {

std::string read_file(const std::filesystem::path& path, std::string_view source) {
  if (!std::filesystem::is_regular_file(path)) {
    throw Error("data " + std::string(source), path.string(), "no such file",
                "a text file, 'wikitext2' or 'generated'");
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file || !content) throw Error(path.string(), "", "a read error", "a readable text file");
  return std::move(content).str();
}

std::filesystem::path wikitext2_path() {
  const char* root = std::getenv("KVG_DATA");
  if (root == nullptr || *root == '\0') {
    throw Error("data wikitext2", "KVG_DATA", "not set",
                "the folder that holds wikitext2/wiki.test.raw");
  }
  return std::filesystem::path(root) / "wikitext2" / "wiki.test.raw";
}

std::string join_documents(const std::string& content) {
  std::string joined;
  joined.reserve(content.size());
  for (const char c : content) {
    if (c == '\0') {
      joined += "\n\n";
    } else {
      joined += c;
    }
  }
  return joined;
}

}  // namespace

Text load_text(std::string_view source, int64_t bytes, uint64_t seed) {
  Text text;
  std::string content;
  if (source == "generated") {
    content = generated_text(bytes, seed);
    text.name = generated_text_name(bytes, seed);
  } else {
    const bool wikitext = source == "wikitext2";
    const std::filesystem::path path =
        wikitext ? wikitext2_path() : std::filesystem::path(std::string(source));
    content = read_file(path, source);
    text.name = wikitext ? "wikitext2" : path.filename().string();
  }
  text.sha256 = sha256(content);
  text.content = join_documents(content);
  if (text.content.find_first_not_of(" \n\r\t") == std::string::npos) {
    throw Error("data " + std::string(source), "", "no text", "at least one word");
  }
  return text;
}

}  // namespace kvg
