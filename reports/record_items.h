#pragma once

#include "reports/record.h"

#include <filesystem>
#include <string>
#include <vector>

namespace kvg::reports {

struct ItemLines {
  std::vector<Item> items;
  bool truncated_tail = false;  // the last line has no newline: the trace of a kill, ignored
  size_t duplicates = 0;        // rows whose key had come before, ignored
};

// Reads items.jsonl or items.jsonl.gz. Throws Error naming file:line for a line that does not
// follow SCHEMA.md.
ItemLines read_items(const std::filesystem::path& path);

}  // namespace kvg::reports
