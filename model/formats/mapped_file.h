#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace kvg {

// A file mapped read-only into memory. The mapping starts at a page, so offsets within the file
// keep their alignment. Caveat: a file that another program truncates while it is mapped raises
// SIGBUS.
class MappedFile {
 public:
  // Throws Error naming the file when it cannot be opened or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  // Gives the pages of a part back to the system; reading it again brings them back from the file.
  void drop_pages(size_t begin, size_t size) const;

 private:
  std::filesystem::path path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace kvg
