#pragma once

#include "reports/metrics.h"

#include <filesystem>
#include <string>
#include <vector>

namespace kvg::reports {

struct StudyOptions {
  std::filesystem::path output;  // folder to write into; empty: the study's own
  StatisticsOptions statistics;
};

struct StudyFiles {
  std::vector<std::filesystem::path> files;
  std::string summary;  // the findings as plain text, for a terminal
};

// Reads FOLDER/study.yaml and the records it names, and writes index.html (one self-contained
// file), report.md, arms.csv, estimates.csv, effects.csv and training.csv. The same records give
// the same bytes. Throws Error as read_study does, or when a file cannot be written.
StudyFiles write_study(const std::filesystem::path& folder, const StudyOptions& options = {});

}  // namespace kvg::reports
