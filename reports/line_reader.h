#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

struct gzFile_s;

namespace kvg::reports {

// The lines of a text file, plain or compressed by gzip (a name that ends in .gz). Throws Error
// when it is not there, cannot be read, or is a damaged or cut-off archive.
class LineReader {
 public:
  explicit LineReader(std::filesystem::path path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its newline; false at the end.
  bool next(std::string* line);
  // Whether the last line given had no newline.
  bool unfinished() const { return unfinished_; }
  // Number of the last line given, from 1.
  size_t number() const { return number_; }
  // "FILE:LINE", for errors.
  std::string where() const;

 private:
  bool refill();

  std::filesystem::path path_;
  gzFile_s* file_;
  std::unique_ptr<char[]> buffer_;
  size_t at_ = 0, end_ = 0, number_ = 0;
  bool unfinished_ = false;
};

// The lines of a run record: items.jsonl of `directory`, or items.jsonl.gz. Throws Error when both
// are there, or neither.
std::filesystem::path items_path(const std::filesystem::path& directory);

}  // namespace kvg::reports
