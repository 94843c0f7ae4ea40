#pragma once

#include "evals/settings.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

struct SuiteTask {
  std::string name;
  std::string where;  // "quick.yaml:12"
  std::map<std::string, WrittenSetting> settings;
};

// What a run is: which model under which methods does which tasks.
//
//   name: quick                    # optional, the file's name otherwise
//   model: kvg-tiny                # a folder, or a name that the caller resolves
//   seed: 0
//   limit: 0                       # items per cell, 0: all
//   methods: [full, "window(window=256)"]
//   controls: [closed-book, oracle, "random(...)"]   # conditions, and methods in the role of a
//   control tasks:
//     perplexity: {data: generated, tokens: 16k}     # settings of the task; lists may be [1k, 2k]
//     or 1k,2k
struct Suite {
  std::string name;
  std::string where;
  std::string model;
  uint64_t seed = 0;
  int64_t limit = 0;
  std::vector<std::string> methods;
  std::vector<std::string> controls;
  std::vector<SuiteTask> tasks;
};

// A suite from text. Throws Error("FILE:LINE", key, found, expected) for YAML that does not parse,
// keys that are unknown (with the nearest known one), given twice or of the wrong kind.
Suite parse_suite(std::string_view yaml, const std::string& where);

// A built-in suite by name ("quick", "full", "arms"), or a file.
Suite load_suite(const std::string& name_or_path);
std::vector<std::string> built_in_suites();

// A change from the command line. `where` names the option for errors ("--tasks").
struct SuiteOverride {
  std::string key;
  std::string value;
  std::string where;
};

// Applies overrides, `tasks` before the others:
//   model, seed, limit, methods, controls, tasks   as in the file; lists with commas
//   TASK.SETTING                                   one setting of one task
//   SETTING                                        of every chosen task that has it
// A task that the suite lacks gets its defaults. Throws Error with the nearest name for an unknown
// key.
void apply_overrides(Suite* suite, std::span<const SuiteOverride> overrides);

}  // namespace kvg
