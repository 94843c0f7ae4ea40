#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

// Writes run folders with invented results, in the schema of real ones, for tests of reports and
// for work on the page. Every number follows from the seed.
struct SyntheticOptions {
  uint64_t seed = 1;          // of the items
  uint64_t outcome_seed = 0;  // of what the methods make of them
  double noise_nats = 0;      // standard deviation of what a method adds to a block of 256 tokens
  std::vector<std::string> methods = {"full",
                                      "window(window=252)",
                                      "sinks(sinks=4,window=248)",
                                      "landmark(window=128,exact=64,summary=60,semantics=fixed)",
                                      "landmark(window=256,exact=256,summary=192,semantics=fixed)"
                                      "+bank:eden(bits=4)",
                                      "random(window=128,slots=124)"};  // the last is the control
  std::vector<int64_t> lengths = {512, 1024, 2048, 4096};
  int64_t depths = 5;
  int64_t passkeys_per_cell = 4;
  int64_t contexts_per_cell = 4;  // of needle, each with `questions` questions
  int64_t questions = 5;
  int64_t streams = 12;
  int64_t stream_tokens = 4096;
  bool controls = true;                                     // closed-book and oracle rows
  std::string model = "model", build = "00112233aabbccdd";  // what their hashes are of, or are
  // Answers with a retention object: probability that a bounded method has stored the evidence, and
  // that it reads what it stored. They decide the answer, in place of `right`.
  struct Chain {
    double stored = 1, read = 1, right_when_read = 0.95, right_when_lost = 0.05;
  };
  std::optional<Chain> chain;
  // Probability that `method` (index) answers an item right whose evidence lies `distance` tokens
  // back; a believable default otherwise.
  std::function<double(size_t method, double distance)> right;
  // Nats per token that `method` adds to the reference at `position`; a believable default
  // otherwise.
  std::function<double(size_t method, int64_t position)> extra_nats;
};

void write_synthetic_run(const std::filesystem::path& directory, const SyntheticOptions& options);

}  // namespace kvg::reports
