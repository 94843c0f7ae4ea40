#include "base/names.h"
#include "reports/digest.h"
#include "reports/labels.h"
#include "reports/study/study_tables.h"
#include "reports/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <functional>
#include <set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr const char* kNone = "\u2013";

// What the trainer logs of a learned quantity: where it is, and how far it went from its start.
struct Learned {
  const char *name, *level, *moved;
};
constexpr std::array<Learned, 4> kLearned = {{{"gate", "gate_mean", "gate_moved"},
                                              {"lambda", "lambda_mean", "lambda_moved"},
                                              {"theta", "theta_rms", "theta_moved"},
                                              {"eta", "eta_mean", "eta_moved"}}};

// Mean over the seeds that know the number, "-" where none does.
std::string mean_over_seeds(const Arm& arm,
                            const std::function<std::optional<double>(const ArmRun&)>& of,
                            const std::function<std::string(double)>& print) {
  double sum = 0;
  int count = 0;
  for (const ArmRun& run : arm.seeds) {
    if (const auto value = of(run)) {
      sum += *value;
      ++count;
    }
  }
  return count > 0 ? print(sum / count) : kNone;
}

template <typename T>
std::function<std::optional<double>(const ArmRun&)> logged(std::optional<T> TrainingLog::*field) {
  return [field](const ArmRun& run) -> std::optional<double> {
    if (!run.training || !((*run.training).*field)) return std::nullopt;
    return static_cast<double>(*((*run.training).*field));
  };
}

// The longest context of the study, tokens.
int64_t longest_of(const Study& study) {
  int64_t longest = 0;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      for (const ProvisionedBytes& size : run.method->provisioned) {
        longest = std::max(longest, size.tokens);
      }
    }
  }
  return longest;
}

std::string whole(double value) { return thousands(std::llround(value)); }

std::string four_digits(double value) { return fmt::format("{:.4g}", value); }

// A word of a command line, quoted where a shell would take it apart.
std::string shell_word(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("_-./=:,+@%").find(c) != std::string_view::npos;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string shell_line(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(shell_word(word));
  return join(quoted, " ");
}

// The share of right answers of another method or condition, a mean over seeds.
Cell floor_cell(const Study& study, const Arm& arm, const Quantity& score,
                const std::function<ItemRefs(const ArmRun&)>& items) {
  std::vector<double> values;
  std::optional<Effect> last;
  for (const ArmRun& run : arm.seeds) {
    const ItemRefs own = items(run);
    if (own.empty()) continue;
    last = estimate(score, {{own, 1}}, study.options);
    if (last) values.push_back(last->value);
  }
  if (values.empty()) return {kNone, ""};
  double sum = 0;
  for (const double value : values) sum += value;
  Cell cell{percent(sum / static_cast<double>(values.size())), ""};
  if (values.size() > 1) {
    cell.detail = fmt::format("SD {}", fixed(standard_deviation(values) * 100, 1));
  } else if (last && last->interval) {
    cell.detail = fmt::format("[{}, {}]", fixed(last->interval->low * 100, 1),
                              fixed(last->interval->high * 100, 1));
  }
  return cell;
}

}  // namespace

Table cost_table(const Study& study) {
  const int64_t longest = longest_of(study);
  Table table;
  table.columns = {{"Arm", false},
                   {"Cache", true, fmt::format("at {} tokens", thousands(longest))},
                   {"Trained on", true, "tokens"},
                   {"Parameters trained"},
                   {"Speed", true, "tokens/s"},
                   {"Time", true, "s"},
                   {"Peak memory"}};
  for (const Arm& arm : study.arms) {
    const ProvisionedBytes* size = provisioned(*arm.seeds[0].method, longest);
    table.rows.push_back(
        {arm_cell(arm),
         {size != nullptr ? human_bytes(static_cast<double>(size->bytes.total)) : kNone, "",
          std::nullopt, "",
          size != nullptr ? thousands(size->bytes.total) + " bytes, all layers" : ""},
         {mean_over_seeds(arm, logged(&TrainingLog::tokens), whole), ""},
         {mean_over_seeds(arm, logged(&TrainingLog::parameters_trained), whole), ""},
         {mean_over_seeds(arm, logged(&TrainingLog::tokens_per_second), whole), ""},
         {mean_over_seeds(arm, logged(&TrainingLog::seconds),
                          [](double value) { return fixed(value, 1); }),
          ""},
         {mean_over_seeds(arm, logged(&TrainingLog::peak_bytes), human_bytes), ""}});
  }
  return table;
}

Table floor_table(const Study& study, const Quantity& score) {
  std::vector<std::string> methods;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      for (const MethodRecord& method : run.run->methods) {
        if (std::find(methods.begin(), methods.end(), method.method) == methods.end()) {
          methods.push_back(method.method);
        }
      }
    }
  }
  const std::vector<std::string> labels = short_labels(methods);
  Table table;
  table.columns = {{"Arm", false}, {"own cache"}};
  const auto add_column = [&](const std::string& title, const std::string& detail,
                              const std::function<ItemRefs(const ArmRun&)>& items) {
    std::vector<Cell> column;
    for (const Arm& arm : study.arms) column.push_back(floor_cell(study, arm, score, items));
    if (std::all_of(column.begin(), column.end(), [](const Cell& c) { return c.text == kNone; })) {
      return;
    }
    table.columns.push_back({title, true, detail});
    for (size_t a = 0; a < column.size(); ++a) table.rows[a].push_back(column[a]);
  };
  for (const Arm& arm : study.arms) {
    table.rows.push_back({arm_cell(arm), floor_cell(study, arm, score, [&](const ArmRun& run) {
                            return run.items(*score.measure);
                          })});
  }
  for (size_t m = 0; m < methods.size(); ++m) {
    add_column(labels[m], "same weights",
               [&](const ArmRun& run) { return run.items(*score.measure, methods[m], "context"); });
  }
  for (const char* condition : {"closed-book", "oracle"}) {
    add_column(condition, "", [&](const ArmRun& run) {
      return run.items(*score.measure, run.run->reference().method, condition);
    });
  }
  return table;
}

Table retention_table(const Study& study, const std::vector<Quantity>& chain) {
  Table table;
  table.columns = {{"Arm", false}, {"Length", false}};
  for (const Quantity& quantity : chain) table.columns.push_back({quantity.title});
  std::vector<std::pair<std::string, std::vector<Quantity>>> groups = {{"all", chain}};
  for (const Quantity& quantity : chain) {
    size_t g = 1;
    for (auto& [title, part] : by_axis(study, quantity, "length")) {
      if (g == groups.size()) groups.push_back({title, {}});
      groups[g++].second.push_back(part);
    }
  }
  if (groups.size() == 2) groups.pop_back();
  for (const Arm& arm : study.arms) {
    bool first = true;
    for (const auto& [title, quantities] : groups) {
      std::vector<Cell> row = {arm_cell(arm), {title, ""}};
      if (!first) row[0] = {"", ""};
      bool any = false;
      for (const Quantity& quantity : quantities) {
        const SeededEffect effect = seeded_effect(quantity, mean_of(arm), study.options);
        row.push_back(mean_cell(quantity, effect));
        if (!effect.mean) continue;
        row.back().detail +=
            fmt::format(", {} of {}", whole(effect.mean->sum), whole(effect.mean->weight));
        any = true;
      }
      if (!any) continue;
      if (first) table.rules.push_back(table.rows.size());
      first = false;
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

Table movement_table(const Study& study) {
  Table table;
  table.columns = {{"Arm and seed", false}};
  for (const Learned& learned : kLearned) {
    table.columns.push_back({learned.name, true, "first \u2192 last, moved"});
  }
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      if (!run.training) continue;
      std::vector<Cell> row = {{fmt::format("{}, seed {}", arm.name, run.entry->seed), "",
                                std::nullopt, arm.style.css_class}};
      bool any = false;
      for (const Learned& learned : kLearned) {
        const auto level = run.training->ends(learned.level);
        const auto moved = run.training->ends(learned.moved);
        any = any || level || moved;
        row.push_back({level ? fmt::format("{} \u2192 {}", four_digits(level->first),
                                           four_digits(level->second))
                             : kNone,
                       moved ? "moved " + four_digits(moved->second) : ""});
      }
      if (any) table.rows.push_back(std::move(row));
    }
  }
  return table;
}

std::vector<std::string> unmoved(const Study& study) {
  std::vector<std::string> warnings;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      if (!run.training) continue;
      for (const Learned& learned : kLearned) {
        const auto moved = run.training->ends(learned.moved);
        if (!moved || std::abs(moved->second) >= study.file.moved_threshold) continue;
        warnings.push_back(fmt::format(
            "{} of {}, seed {}, did not move: {} at the end, below {}. Unless it was frozen on "
            "purpose, what it should have learned was not learned, and the arm does not test it.",
            learned.name, arm.name, run.entry->seed, four_digits(moved->second),
            four_digits(study.file.moved_threshold)));
      }
    }
  }
  return warnings;
}

Table study_provenance_table(const Study& study) {
  Table table;
  table.columns = {{"Arm and seed", false},  {"Evaluated model", false}, {"Trained from", false},
                   {"Training data", false}, {"Training device", false}, {"Evaluation", false}};
  const auto digits = [](const std::string& hash) {
    return hash.empty() ? std::string() : "sha256 " + hash.substr(0, 16);
  };
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      const TrainingLog training = run.training.value_or(TrainingLog{});
      const Run& record = *run.run;
      const auto or_none = [](const std::string& text) { return text.empty() ? kNone : text; };
      table.rows.push_back(
          {{fmt::format("{}, seed {}", arm.name, run.entry->seed), run.method->method, std::nullopt,
            arm.style.css_class},
           {record.model, digits(record.model_hash)},
           {or_none(training.base), digits(training.base_sha256)},
           {or_none(digits(training.data_sha256)), ""},
           {or_none(training.device), training.torch.empty() ? "" : "PyTorch " + training.torch},
           {fmt::format("run {}", record.run_id.substr(0, 16)),
            fmt::format("build {}, commit {}", record.build,
                        record.provenance_value("git_commit").substr(0, 12))}});
    }
  }
  return table;
}

std::vector<std::pair<std::string, std::string>> study_commands(const Study& study) {
  std::vector<std::pair<std::string, std::string>> commands;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      const std::string name = fmt::format("{}, seed {}", arm.name, run.entry->seed);
      if (run.training && !run.training->command.empty()) {
        commands.emplace_back(name + ": training", shell_line(run.training->command));
      }
      if (!run.run->command.empty()) {
        commands.emplace_back(name + ": evaluation", shell_line(run.run->command));
      }
    }
  }
  return commands;
}

}  // namespace kvg::reports
