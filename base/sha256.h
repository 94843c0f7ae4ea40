#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kvg {

// SHA-256 as 64 lower-case hexadecimal digits.
std::string sha256(std::string_view bytes);

// SHA-256 of a file's content. Throws Error when it cannot be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace kvg
