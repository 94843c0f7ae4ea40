#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace kvg::reports {

// Writes latency and capacity records with invented times, in the schema of real ones, for tests of
// reports and for work on the page. Every number follows from the seed.
struct SyntheticLatencyOptions {
  uint64_t seed = 1;
  std::vector<std::string> methods = {"full", "window(window=384)",
                                      "landmark(window=256,exact=64,summary=64)",
                                      "landmark(window=256,exact=64,summary=64)+eden(bits=4)"};
  std::vector<int64_t> contexts = {2048, 8192, 32768};
  std::vector<int64_t> batches = {1, 64};
  int64_t repeats = 5;
  double noise = 0.01;    // relative, of every time
  double missing = 0.01;  // share of a total that no phase accounts for
  // Caches of more bytes than this do not fit.
  double memory = 100e9;
  bool sliced = false;
};

void write_synthetic_latency(const std::filesystem::path& directory,
                             const SyntheticLatencyOptions& options);
void write_synthetic_capacity(const std::filesystem::path& directory,
                              const SyntheticLatencyOptions& options);

}  // namespace kvg::reports
