#pragma once

#include "evals/suite.h"
#include "model/sequence.h"
#include "model/tokenizer.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kvg {

struct ModelFacts {
  std::string name;
  std::string hash;         // of the weights
  std::string config_json;  // as a JSON object
  int64_t context = 0;      // tokens it was trained for; 0: unknown
  bool can_watch = false;   // Sequence::watch works
};

// The model of a run, given by the caller. The runner asks for a subject only when items of that
// method are left to do, and holds one at a time.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual const ModelFacts& facts() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  // The canonical form of a method text. Throws Error for what is not a method.
  virtual std::string canonical(const std::string& method) const = 0;
  // What all layers occupy when provisioned for `tokens` tokens.
  virtual CacheBytes planned_bytes(const std::string& method, int64_t tokens) const = 0;
  // `max_tokens` bounds the length of the sequences. Throws Error, or std::bad_alloc.
  virtual std::unique_ptr<Subject> subject(const std::string& method, int64_t max_tokens) const = 0;
};

struct RunOptions {
  std::filesystem::path root = "runs";          // the run gets a folder of its own in here
  std::optional<std::filesystem::path> folder;  // or exactly this folder
  std::vector<int64_t> samples;                 // only these indices of each cell; empty: all
  int64_t chunk = 512;                          // tokens taken in between two looks at `stop`
  int threads = 0;                              // recorded only; 0: unknown
  std::vector<std::string> command;             // recorded only: the command line
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: finish the chunk and leave
};

struct RunOutcome {
  std::filesystem::path folder;
  std::string run_id;
  std::string status;   // "complete" or "failed", as in run.json
  int64_t planned = 0;  // items
  int64_t resumed = 0;  // of them found finished
  int64_t failed = 0;   // rows with an error
  double seconds = 0;
};

// Runs what of the suite is not yet in its folder, writing the record of reports/SCHEMA.md.
// Progress goes to standard error when that is a terminal. Throws Error before anything is run for
// what is wrong with the suite, when the folder cannot be written or is in use, and Interrupted
// when asked to stop; the record is valid in each case. An item that fails becomes a row, a method
// that cannot start is recorded, and the run goes on.
RunOutcome run_suite(const Suite& suite, const ModelSource& source, const RunOptions& options);

}  // namespace kvg
