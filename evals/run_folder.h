#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// The folder of one run on disk: `run.json`, replaced whole, and `items.jsonl`, appended line by
// line. A kill at any point loses at most the item in flight. Locked against a second process for
// as long as the object lives (the lock is the kernel's: it goes with the process). Every failed
// write is an Error that names the file, and leaves no half line behind.
class RunFolder {
 public:
  // Creates or reopens the folder; cuts off a torn last line of items.jsonl.
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // The complete lines that were there when the folder was opened, without newlines.
  const std::vector<std::string>& lines() const { return lines_; }
  // Content of run.json, or "" when there is none.
  std::string read_run() const;

  // Appends one line and flushes it to the disk.
  void append(std::string_view line);
  void write_run(std::string_view json);

 private:
  void load_lines();

  std::filesystem::path path_;
  std::vector<std::string> lines_;
  int lock_ = -1;
  int items_ = -1;
  int64_t size_ = 0;  // bytes of whole lines in items.jsonl
};

}  // namespace kvg
