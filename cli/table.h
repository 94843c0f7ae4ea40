#pragma once

#include <string>
#include <vector>

namespace kvg::cli {

// Columns padded to their widest cell; the first `left` ones are left-aligned, the others
// right-aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> header, size_t left = 1)
      : left_(left), rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // With two spaces between columns and a rule below the header.
  std::string text() const;
  // RFC 4180.
  std::string csv() const;

 private:
  size_t left_;
  std::vector<std::vector<std::string>> rows_;
};

// 1771392 -> "1,771,392"
std::string with_commas(int64_t value);

}  // namespace kvg::cli
