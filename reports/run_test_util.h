#pragma once

#include "base/error.h"
#include "reports/synthetic_run.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

namespace kvg::reports {

// A folder that is gone after the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvg_reports_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

inline void write_gzip(const std::filesystem::path& path, const std::string& text) {
  gzFile file = gzopen(path.c_str(), "wb");
  const int written = gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  ASSERT_EQ(written, static_cast<int>(text.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

// A small run: quick to read, every task and control in it.
inline SyntheticOptions small_run() {
  SyntheticOptions options;
  options.methods = {"full", "window(window=252)", "random(window=128,slots=124)"};
  options.lengths = {512, 1024};
  options.depths = 3;
  options.passkeys_per_cell = 2;
  options.contexts_per_cell = 2;
  options.questions = 3;
  options.streams = 6;
  options.stream_tokens = 1024;
  return options;
}

// Rewrites run.json through `edit`.
inline void edit_run(const std::filesystem::path& run,
                     const std::function<void(nlohmann::json&)>& edit) {
  nlohmann::json record = nlohmann::json::parse(read_text(run / "run.json"));
  edit(record);
  write_text(run / "run.json", record.dump(2));
}

// Rewrites the rows through `edit`; a row for which it returns false is removed.
inline void edit_items(const std::filesystem::path& run,
                       const std::function<bool(nlohmann::json&)>& edit) {
  std::ifstream file(run / "items.jsonl", std::ios::binary);
  std::string line, out;
  while (std::getline(file, line)) {
    nlohmann::json row = nlohmann::json::parse(line);
    if (edit(row)) out += row.dump() + "\n";
  }
  file.close();
  write_text(run / "items.jsonl", out);
}

// The message of the Error that `action` throws; a failure when it throws none.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

}  // namespace kvg::reports
