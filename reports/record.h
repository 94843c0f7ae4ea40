#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvg::reports {

// A run record (SCHEMA.md) in memory. Sizes are bytes, times seconds, likelihoods nats. Texts are
// arbitrary bytes: escape them (text.h) before they go anywhere.

struct CacheBytes {
  int64_t keys = 0, values = 0, scales = 0, metadata = 0, total = 0;
};

// What a cache occupies when provisioned for `tokens` tokens.
struct ProvisionedBytes {
  int64_t tokens = 0;
  CacheBytes bytes;
};

enum class Role { kReference, kMethod, kControl };

struct MethodRecord {
  std::string method;  // canonical text
  Role role = Role::kMethod;
  std::string status, error;
  std::vector<ProvisionedBytes> provisioned;  // by tokens
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  std::optional<int64_t> items, failed_items;  // rows, by the writer's own count
};

struct DataRecord {
  std::string name, sha256;
  int64_t bytes = 0;
};

struct TaskRecord {
  std::string task;
  int64_t version = 0;
  std::string settings;  // compact JSON
  std::vector<DataRecord> data;

  // Of all its data, to compare.
  std::string data_hashes() const;
};

// Scored tokens of one bucket: positions [from, to), or distances; see SCHEMA.md.
struct Bucket {
  int64_t from = 0, to = 0;
  int64_t tokens = 0;
  double nll = 0;  // sum
};

struct Block {
  int64_t tokens = 0;
  double nll = 0;  // sum
};

// What only rows of `perplexity` have.
struct Likelihood {
  int64_t tokens = 0;
  double nll = 0;
  std::optional<int64_t> text_bytes;
  std::vector<Bucket> positions, repeats;
  std::vector<Block> blocks;
};

// Where an answer was lost, or not: only rows that were probed have it (SCHEMA.md).
struct Retention {
  int64_t value_tokens = 0;  // of the gold value
  int64_t layers = 0;
  std::vector<double> stored_share;  // [layers] of the value, readable as it was
  bool stored = false;               // one layer at least held all of it
  double read_weight = 0;            // of the attention while the answer was due
  bool read = false;

  int64_t stored_layers() const;  // those that held all of it
};

struct Item {
  std::string key, method, condition, task;
  std::map<std::string, std::string> cell;  // axis -> printed value
  int64_t index = 0;
  std::string group, seed;
  std::string error;  // empty: succeeded
  int64_t n_prompt = 0, n_out = 0;
  CacheBytes cache_bytes;
  std::optional<double> score;  // 0 or 1
  std::string question, expected, output, answer;
  bool truncated = false;
  std::optional<double> gold_nll;  // of the whole gold answer
  int64_t gold_tokens = 0;
  std::map<std::string, std::string> strata;
  std::optional<Likelihood> likelihood;
  std::optional<Retention> retention;

  bool failed() const { return !error.empty(); }
  // A failure counts as wrong.
  double score_or_zero() const { return score.value_or(0.0); }
  // "depth=0.1,length=512"
  std::string cell_text() const;
  // The value of an axis as a number; NaN when absent or not a number.
  double axis(const std::string& name) const;
  // What rows of two methods pair on: condition, task, cell, index.
  std::string pairing_key() const;
};

struct Run {
  std::filesystem::path directory;
  std::string run_id, status, error;
  std::string suite, build;
  int64_t seed = 0;
  std::string model, model_hash, tokenizer_hash;
  std::vector<MethodRecord> methods;
  std::vector<TaskRecord> tasks;
  std::optional<int64_t> limit;  // items per cell
  std::string samples;           // compact JSON: only these indices; empty: all
  std::vector<std::pair<std::string, std::string>> provenance;  // in the order of the names
  std::vector<std::string> command;                             // as it was given, when recorded
  int64_t planned_items = 0;
  double seconds = 0;
  std::vector<Item> items;
  // What is wrong with the record without making it unreadable: a cut-off last line, duplicated or
  // unexpected rows, a run_id that its request does not hash to. One sentence each.
  std::vector<std::string> notes;

  const MethodRecord& reference() const;
  const MethodRecord* find_method(std::string_view method) const;
  const TaskRecord* find_task(std::string_view task) const;
  // "unknown" when not recorded.
  std::string provenance_value(std::string_view name) const;
  bool complete() const;
};

// A method by its canonical text, or by the part of it before the first "(" or "+" when that is
// unique in the run. Throws Error naming the methods there are.
const MethodRecord& resolve_method(const Run& run, const std::string& name);

// Reads and checks a run folder. Throws Error naming the file, the line, the field, what was found
// and what was expected. Tolerated and noted: see Run::notes.
Run read_run(const std::filesystem::path& directory);

}  // namespace kvg::reports
