#pragma once

#include <string>

namespace kvg::cli {

// The content of a file that an option names. Throws Error when it cannot be read.
std::string read_text_file(const std::string& path);

}  // namespace kvg::cli
