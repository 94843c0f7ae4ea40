#include "cli/text_file.h"

#include "base/error.h"

#include <fstream>
#include <iterator>

namespace kvg::cli {

std::string read_text_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path, "", "nothing readable", "a text file");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace kvg::cli
