#pragma once

#include "reports/charts/palette.h"
#include "reports/digest.h"
#include "reports/record.h"
#include "reports/study/study_file.h"
#include "reports/study/training_log.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

// One arm under one seed: its evaluation and what is known of its training.
struct ArmRun {
  const ArmEntry* entry;
  std::shared_ptr<const Run> run;
  const MethodRecord* method;  // the arm's own
  std::optional<TrainingLog> training;

  // Its items under `context`, or of another method or condition of the run, by pairing key.
  ItemRefs items(const Measure& measure) const;
  ItemRefs items(const Measure& measure, std::string_view method, std::string_view condition) const;
};

struct Arm {
  std::string name;
  ArmRole role;
  std::vector<std::pair<std::string, bool>> factors;
  std::string compare;
  SeriesStyle style;
  std::vector<ArmRun> seeds;  // by seed

  const ArmRun* find(int64_t seed) const;
};

// The cells of the 2x2: [first factor off, on][second factor off, on].
struct Factorial {
  std::array<std::string, 2> factors;
  std::array<std::array<const Arm*, 2>, 2> cells;
};

struct Study {
  StudyFile file;
  StatisticsOptions options;
  std::vector<Arm> arms;          // factorial, controls, references; each in the order of the file
  std::vector<Measure> measures;  // of all runs, without numbers
  std::optional<Factorial> factorial;
  std::vector<std::string> notes;  // what a reader must know: other builds, incomplete runs, ...

  const Arm* find_arm(std::string_view name) const;
  // The arm that this one is held against: of controls the one they name, of an arm of the
  // factorial with its second factor on the same one with that factor off; nullptr otherwise.
  const Arm* counterpart(const Arm& arm) const;
};

// Reads a study and every record it names. Runs whose items are not the same items are refused:
// the same tokenizer, seed, versions, settings and data of tasks, and row by row the same
// questions. Other builds are noted.
Study read_study(const std::filesystem::path& folder, const StatisticsOptions& options);

}  // namespace kvg::reports
