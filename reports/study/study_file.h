#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

// What a study compares (study.yaml; SCHEMA.md describes it): arms, each trained with one or more
// seeds, each evaluated into a run folder of its own.

enum class ArmRole {
  kFactorial,  // a cell of the 2x2
  kControl,    // compared with one other arm
  kReference,  // shown beside them, compared with nothing
};

// One arm under one seed.
struct ArmEntry {
  std::string where;  // file:line, for errors
  std::string name;
  int64_t seed = 0;
  std::filesystem::path run;                          // as written, relative to the study's folder
  std::string method;                                 // of the run, the arm's own
  std::vector<std::pair<std::string, bool>> factors;  // in the order of the file
  std::filesystem::path training;                     // empty: not recorded
  ArmRole role = ArmRole::kReference;
  std::string compare;  // name of an arm; of controls
};

struct StudyFile {
  std::filesystem::path directory;
  std::string title, intro, rules;  // the last two are Markdown
  double moved_threshold = 1e-3;    // what a learned quantity must have moved to count as moved
  std::vector<ArmEntry> arms;
};

// Reads FOLDER/study.yaml. Throws Error naming file, line, key, what was found and what was
// expected. Arms of one name agree in role, factors and `compare`; `compare` names another arm.
StudyFile read_study_file(const std::filesystem::path& folder);

// The file itself; its presence makes a folder a study.
std::filesystem::path study_file_path(const std::filesystem::path& folder);

}  // namespace kvg::reports
