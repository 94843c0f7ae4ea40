#include "reports/study/study.h"

#include "base/error.h"
#include "base/names.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// In one order for all runs, whatever order their rows were written in.
std::shared_ptr<const Run> read_sorted(const std::filesystem::path& path) {
  auto run = std::make_shared<Run>(read_run(path));
  std::vector<std::pair<std::string, size_t>> order;
  for (size_t i = 0; i < run->items.size(); ++i) {
    order.emplace_back(run->items[i].pairing_key() + "|" + run->items[i].method, i);
  }
  std::sort(order.begin(), order.end());
  std::vector<Item> items;
  for (const auto& [key, index] : order) items.push_back(std::move(run->items[index]));
  run->items = std::move(items);
  return run;
}

// Loads what the file names, each run once.
class Loader {
 public:
  explicit Loader(Study* study) : study_(study) {}

  void load() {
    for (const ArmEntry& entry : study_->file.arms) {
      Arm& arm = arm_of(entry);
      ArmRun run{&entry, read(entry), nullptr, std::nullopt};
      run.method = &resolve_method(*run.run, entry.method);
      if (!entry.training.empty()) run.training = read_training(entry);
      arm.seeds.push_back(std::move(run));
    }
    for (Arm& arm : study_->arms) {
      std::sort(arm.seeds.begin(), arm.seeds.end(),
                [](const ArmRun& a, const ArmRun& b) { return a.entry->seed < b.entry->seed; });
    }
    const auto by_role = [](const Arm& a, const Arm& b) { return a.role < b.role; };
    std::stable_sort(study_->arms.begin(), study_->arms.end(), by_role);
    int coloured = 0, grey = 0;
    for (Arm& arm : study_->arms) {
      arm.style =
          arm.role == ArmRole::kReference ? control_style(grey++) : method_style(coloured++);
    }
  }

 private:
  Arm& arm_of(const ArmEntry& entry) {
    for (Arm& arm : study_->arms) {
      if (arm.name == entry.name) return arm;
    }
    study_->arms.push_back({entry.name, entry.role, entry.factors, entry.compare, {}, {}});
    return study_->arms.back();
  }

  std::shared_ptr<const Run> read(const ArmEntry& entry) {
    const std::filesystem::path path = study_->file.directory / entry.run;
    auto& run = runs_[path.lexically_normal().string()];
    if (run == nullptr) {
      run = read_sorted(path);
      for (const std::string& note : run->notes) {
        study_->notes.push_back(fmt::format("{}: {}", entry.run.string(), note));
      }
      if (!run->complete()) {
        study_->notes.push_back(fmt::format("{} is INCOMPLETE: status {}, {} of {} items",
                                            entry.run.string(), run->status, run->items.size(),
                                            run->planned_items));
      }
    }
    return run;
  }

  TrainingLog read_training(const ArmEntry& entry) {
    const std::filesystem::path path = study_->file.directory / entry.training;
    TrainingLog log = read_training_log(path);
    if (log.seed && *log.seed != entry.seed) {
      throw Error(path.string(), "seed", std::to_string(*log.seed),
                  fmt::format("{}, as at {}", entry.seed, entry.where));
    }
    if (!log.arm.empty() && log.arm != entry.name) {
      study_->notes.push_back(fmt::format("{} calls itself {}, the study calls it {}",
                                          entry.training.string(), log.arm, entry.name));
    }
    return log;
  }

  Study* study_;
  std::map<std::string, std::shared_ptr<const Run>> runs_;
};

// Every run against the first one.
class PlanCheck {
 public:
  explicit PlanCheck(Study* study) : study_(*study), first_(*study->arms[0].seeds[0].run) {}

  void check() {
    for (const Arm& arm : study_.arms) {
      for (const ArmRun& run : arm.seeds) check_run(*run.run);
    }
    for (const Measure& measure : study_.measures) {
      const ArmRun* against = nullptr;
      for (const Arm& arm : study_.arms) {
        for (const ArmRun& run : arm.seeds) check_items(measure, arm, run, &against);
      }
    }
  }

 private:
  [[noreturn]] void refuse(const Run& run, const std::string& key, const std::string& found,
                           const std::string& expected) const {
    throw Error(run.directory.string(), key, found,
                fmt::format("{}, as {} has", expected, first_.directory.string()));
  }

  void check_run(const Run& run) {
    if (!checked_.insert(run.directory.string()).second) return;
    if (run.tokenizer_hash != first_.tokenizer_hash) {
      refuse(run, "tokenizer", run.tokenizer_hash.substr(0, 16),
             first_.tokenizer_hash.substr(0, 16));
    }
    if (run.seed != first_.seed) {
      refuse(run, "seed", std::to_string(run.seed), std::to_string(first_.seed));
    }
    for (const TaskRecord& task : run.tasks) {
      const TaskRecord& known = *tasks_.try_emplace(task.task, &task).first->second;
      if (task.version != known.version) {
        refuse(run, task.task, fmt::format("version {}", task.version),
               fmt::format("version {}", known.version));
      }
      if (task.settings != known.settings) refuse(run, task.task, task.settings, known.settings);
      if (task.data_hashes() != known.data_hashes()) {
        refuse(run, task.task, "other data", "the same data");
      }
    }
    if (run.build != first_.build) {
      study_.notes.push_back(fmt::format(
          "{} was measured by another build ({}) than {} ({}); the versions of the tasks agree",
          run.directory.filename().string(), run.build, first_.directory.filename().string(),
          first_.build));
    }
  }

  // A whole measure may be missing in an arm, single items of it may not.
  static void check_items(const Measure& measure, const Arm& arm, const ArmRun& run,
                          const ArmRun** against) {
    const ItemRefs items = run.items(measure);
    if (items.empty()) return;
    if (*against == nullptr) *against = &run;
    const ItemRefs expected = (*against)->items(measure);
    const auto same = [](const Item* a, const Item* b) {
      return a->pairing_key() == b->pairing_key() && same_item(*a, *b);
    };
    if (std::equal(items.begin(), items.end(), expected.begin(), expected.end(), same)) return;
    const auto [mine, other] =
        std::mismatch(items.begin(), items.end(), expected.begin(), expected.end(), same);
    const Item* odd = mine != items.end() ? *mine : *other;
    throw Error(run.run->directory.string(), arm.name + ", " + measure.title,
                fmt::format("{} items that do not pair (first: {})", items.size(), odd->key),
                fmt::format("the same {} items as {}", expected.size(),
                            (*against)->run->directory.string()));
  }

  Study& study_;
  const Run& first_;
  std::set<std::string> checked_;
  std::map<std::string, const TaskRecord*> tasks_;
};

std::vector<Measure> measures_of(const Study& study) {
  std::vector<Measure> measures;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      for (Measure& measure : outline(*run.run, study.options).measures) {
        const auto same = [&](const Measure& m) {
          return m.task == measure.task && m.cell == measure.cell;
        };
        if (std::any_of(measures.begin(), measures.end(), same)) continue;
        // A run with one variant of a task alone calls it by the task.
        const auto namesake = [&](const Measure& m) { return m.title == measure.title; };
        if (std::any_of(measures.begin(), measures.end(), namesake)) {
          Item example;
          example.cell = measure.cell;
          measure.title = fmt::format("{} ({})", measure.task, example.cell_text());
        }
        measures.push_back(std::move(measure));
      }
    }
  }
  return measures;
}

std::optional<Factorial> factorial_of(const Study& study) {
  Factorial factorial{};
  bool any = false;
  for (const Arm& arm : study.arms) {
    if (arm.role != ArmRole::kFactorial) continue;
    any = true;
    factorial.factors = {arm.factors[0].first, arm.factors[1].first};
    const Arm*& cell =
        factorial.cells[arm.factors[0].second ? 1 : 0][arm.factors[1].second ? 1 : 0];
    if (cell != nullptr) {
      throw Error(arm.seeds[0].entry->where, arm.name, "the factors of " + cell->name,
                  "one arm in each cell of the factorial");
    }
    cell = &arm;
  }
  if (!any) return std::nullopt;
  for (size_t a = 0; a < 2; ++a) {
    for (size_t b = 0; b < 2; ++b) {
      if (factorial.cells[a][b] != nullptr) continue;
      throw Error(study_file_path(study.file.directory).string(), "arms",
                  fmt::format("no arm of the factorial with {} {} and {} {}", factorial.factors[0],
                              a == 1 ? "on" : "off", factorial.factors[1], b == 1 ? "on" : "off"),
                  "all four");
    }
  }
  return factorial;
}

}  // namespace

ItemRefs ArmRun::items(const Measure& measure) const {
  return items(measure, method->method, "context");
}

ItemRefs ArmRun::items(const Measure& measure, std::string_view of,
                       std::string_view condition) const {
  return select(*run, of, condition, measure.task,
                [&](const Item& item) { return measure.covers(item); });
}

const ArmRun* Arm::find(int64_t seed) const {
  for (const ArmRun& run : seeds) {
    if (run.entry->seed == seed) return &run;
  }
  return nullptr;
}

const Arm* Study::find_arm(std::string_view name) const {
  for (const Arm& arm : arms) {
    if (arm.name == name) return &arm;
  }
  return nullptr;
}

const Arm* Study::counterpart(const Arm& arm) const {
  if (arm.role == ArmRole::kControl) return find_arm(arm.compare);
  if (arm.role != ArmRole::kFactorial || !factorial || !arm.factors[1].second) return nullptr;
  return factorial->cells[arm.factors[0].second ? 1 : 0][0];
}

Study read_study(const std::filesystem::path& folder, const StatisticsOptions& options) {
  Study study;
  study.file = read_study_file(folder);
  study.options = options;
  Loader(&study).load();
  study.measures = measures_of(study);
  PlanCheck(&study).check();
  study.factorial = factorial_of(study);
  return study;
}

}  // namespace kvg::reports
