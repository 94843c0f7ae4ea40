#pragma once

#include "reports/metrics.h"

#include <filesystem>
#include <string>

namespace kvg::reports {

struct ReportOptions {
  std::filesystem::path output;  // folder to write into; empty: the run folder
  StatisticsOptions statistics;
};

struct ReportFiles {
  std::filesystem::path html, markdown, csv;
  std::string summary;    // the result as plain text, for a terminal
  bool complete = false;  // the run was finished; otherwise the report says INCOMPLETE
};

// Reads a run record and writes report.html (one self-contained file), report.md and results.csv.
// Every number is computed from the record's items. Throws Error when `run_directory` is not a run
// folder, its record does not follow SCHEMA.md, it has no items, or a file cannot be written.
ReportFiles write_report(const std::filesystem::path& run_directory,
                         const ReportOptions& options = {});

}  // namespace kvg::reports
