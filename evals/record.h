#pragma once

#include "evals/item.h"
#include "evals/provenance.h"
#include "evals/runner.h"
#include "evals/settings.h"
#include "evals/task.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

inline constexpr int kRecordVersion = 1;

// What is asked for, resolved; its hash names the run.
struct RequestedMethod {
  std::string method;  // canonical
  std::string role;    // "reference", "method", "control"
};

struct RequestedTask {
  std::string task;
  int version = 0;
  std::map<std::string, SettingValue> settings;
  std::vector<DataUse> data;
};

struct Request {
  std::string suite;
  uint64_t seed = 0;
  std::string build;
  ModelFacts model;
  std::string tokenizer_hash;
  std::vector<RequestedMethod> methods;
  std::vector<std::string> controls;  // conditions
  std::vector<RequestedTask> tasks;
};

struct MethodState {
  std::vector<std::pair<int64_t, CacheBytes>> bytes;  // by tokens
  std::string status = "pending";                     // "complete", "failed"
  std::string error;
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  int64_t items = 0;
  int64_t failed_items = 0;
};

// Everything in run.json.
struct RunState {
  Request request;
  std::string run_id;
  std::string status = "running";
  std::string error;
  int64_t limit = 0;
  std::vector<int64_t> samples;
  Machine machine;
  int threads = 0;
  std::vector<std::string> command;
  std::string started;
  std::string finished;
  std::map<std::string, MethodState> methods;
  int64_t planned_items = 0;
  double seconds = 0;
};

// SHA-256 of the request as compact JSON with sorted keys.
std::string run_id(const Request& request);
// run.json, indented.
std::string run_json(const RunState& state);
// The run_id of a run.json; "" for an empty text. Throws Error(where) when it is damaged.
std::string run_id_of(std::string_view json, const std::string& where);

// One line of items.jsonl, without the newline. Text that is not UTF-8 is replaced.
std::string item_json(const ItemRow& row);

// What a resumed run needs to know of a finished line.
struct FinishedItem {
  std::string key;
  std::string method;
  bool failed = false;
  Timing seconds;
};
// Throws Error(where) for a line that is not a row.
FinishedItem finished_item(std::string_view line, const std::string& where);

}  // namespace kvg
