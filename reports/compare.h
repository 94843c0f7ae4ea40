#pragma once

#include "reports/metrics.h"

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace kvg::reports {

struct CompareOptions {
  // Compare one method of A with one of B (A and B may be the same run); both or neither. Canonical
  // text, or the part of it before the first "(" or "+" when that is unique in the run. Empty:
  // every method of A with itself in B.
  std::string method_a, method_b;
  // The checkpoint is what differs: other weights are allowed, another tokenizer is not.
  bool across_models = false;
  // Refuse runs whose environment, build or settings differ, and runs with unmatched items.
  bool strict = false;
  StatisticsOptions statistics;
  std::filesystem::path json, markdown;  // files to write besides; empty: none
};

// Exit codes of `kvgauge compare`.
enum CompareResult : int {
  kSameOrBetter = 0,
  kWorse = 1,
  kNotComparable = 2,
  kInconclusive = 3,
};

// One method under one measure: B (candidate) against A (baseline).
struct Comparison {
  std::string measure;  // "needle", "perplexity", "perplexity (stream, 4,096)"
  std::string method_a, method_b;
  bool likelihood = false;
  bool control = false;  // shown, but not part of the exit code
  Paired paired;
  double margin = 0;
  double adjusted_p = 1;  // Holm over the methods of the measure
  Verdict verdict = Verdict::kInconclusive;
  int64_t failed_a = 0, failed_b = 0;
  size_t only_a = 0, only_b = 0;  // items without a partner
};

struct ComparedRuns {
  std::string run_a, run_b;              // run ids
  std::vector<Comparison> comparisons;   // by measure
  std::vector<std::string> obstacles;    // why they cannot be compared; then no comparisons
  std::vector<std::string> differences;  // of environment, build and settings
  std::vector<std::string> unmatched;    // methods, tasks and items of one run only
  std::vector<std::string> notes;        // incomplete or damaged records
  CompareResult result = kNotComparable;
};

// Pairs the items of two run records and judges B against A. Throws Error when a folder is not a
// run record or a method is unknown.
ComparedRuns compare(const std::filesystem::path& run_a, const std::filesystem::path& run_b,
                     const CompareOptions& options = {});

// The same, printed as a text table on `out` and into the files of `options`; returns the exit
// code: 0 same or better, 1 worse in at least one comparison, 2 not comparable, 3 inconclusive.
int compare_runs(const std::filesystem::path& run_a, const std::filesystem::path& run_b,
                 const CompareOptions& options, std::ostream& out);

}  // namespace kvg::reports
