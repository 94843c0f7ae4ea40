#include "base/error.h"
#include "reports/compare.h"
#include "reports/labels.h"
#include "reports/table.h"
#include "reports/text.h"

#include <algorithm>
#include <fstream>
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace kvg::reports {

namespace {

using nlohmann::json;

std::string number_text(const Comparison& comparison, double value) {
  return comparison.likelihood ? fixed(value, 4) : percent(value);
}

std::string difference_text(const Comparison& comparison, double value) {
  return comparison.likelihood ? signed_fixed(value, 4) : signed_fixed(value * 100, 1);
}

// "sinks", or "sinks -> landmark" where two methods meet; the long forms stand below the table.
std::vector<std::string> pair_labels(const ComparedRuns& runs) {
  std::vector<std::string> methods;
  for (const Comparison& comparison : runs.comparisons) {
    for (const std::string& method : {comparison.method_a, comparison.method_b}) {
      if (std::find(methods.begin(), methods.end(), method) == methods.end()) {
        methods.push_back(method);
      }
    }
  }
  const std::vector<std::string> labels = short_labels(methods);
  const auto label = [&](const std::string& method) {
    const auto at = std::find(methods.begin(), methods.end(), method) - methods.begin();
    return labels[static_cast<size_t>(at)];
  };
  std::vector<std::string> texts;
  for (const Comparison& comparison : runs.comparisons) {
    texts.push_back(comparison.method_a == comparison.method_b
                        ? label(comparison.method_a)
                        : label(comparison.method_a) + " -> " + label(comparison.method_b));
    if (comparison.control) texts.back() += " (control)";
  }
  return texts;
}

Table comparison_table(const ComparedRuns& runs) {
  Table table;
  table.columns = {{"task", false},
                   {"method", false},
                   {"n"},
                   {"A"},
                   {"B"},
                   {"B - A"},
                   {"95 % interval"},
                   {"win/loss/tie"},
                   {"McNemar p"},
                   {"Holm p"},
                   {"verdict", false}};
  const std::vector<std::string> labels = pair_labels(runs);
  for (size_t i = 0; i < runs.comparisons.size(); ++i) {
    const Comparison& comparison = runs.comparisons[i];
    const Paired& paired = comparison.paired;
    const std::string interval =
        paired.interval ? fmt::format("[{}, {}]", difference_text(comparison, paired.interval->low),
                                      difference_text(comparison, paired.interval->high))
                        : "-";
    table.rows.emplace_back();
    for (const std::string& text :
         {comparison.measure, labels[i], thousands(paired.pairs),
          number_text(comparison, paired.baseline), number_text(comparison, paired.candidate),
          difference_text(comparison, paired.difference), interval,
          fmt::format("{}/{}/{}", paired.wins, paired.losses, paired.ties),
          paired.mcnemar_p ? p_value(*paired.mcnemar_p) : "-", p_value(comparison.adjusted_p),
          std::string(to_string(comparison.verdict))}) {
      table.rows.back().push_back({text, ""});
    }
  }
  return table;
}

void print_list(const char* title, const std::vector<std::string>& lines, std::ostream& out) {
  if (lines.empty()) return;
  out << title << '\n';
  for (const std::string& line : lines) out << "  " << printable(valid_utf8(line), 400) << '\n';
}

const char* conclusion(CompareResult result) {
  switch (result) {
    case kSameOrBetter:
      return "SAME OR BETTER";
    case kWorse:
      return "WORSE";
    case kNotComparable:
      return "NOT COMPARABLE";
    case kInconclusive:
      break;
  }
  return "INCONCLUSIVE";
}

std::string legend(const CompareOptions& options) {
  return fmt::format(
      "SAME: interval within \u00B1{} points of accuracy or \u00B1{} % of the nats per token, or "
      "identical outputs. BETTER, WORSE: interval excludes 0 and Holm's p is at most {}.",
      fixed(options.statistics.accuracy_margin * 100, 1),
      fixed(options.statistics.nll_margin * 100, 1), fixed(options.statistics.alpha, 2));
}

std::string as_markdown(const ComparedRuns& runs, const CompareOptions& options) {
  std::string out =
      fmt::format("# Comparison: {}\n\nA: run {}. B: run {}.\n\n", conclusion(runs.result),
                  runs.run_a.substr(0, 16), runs.run_b.substr(0, 16));
  const Table table = comparison_table(runs);
  if (!table.rows.empty()) out += to_markdown(table) + "\n" + legend(options) + "\n\n";
  for (const auto& [title, lines] :
       {std::pair("Not comparable", &runs.obstacles), std::pair("Notes", &runs.notes),
        std::pair("Unmatched", &runs.unmatched), std::pair("Differences", &runs.differences)}) {
    if (lines->empty()) continue;
    out += fmt::format("## {}\n\n", title);
    for (const std::string& line : *lines) out += fmt::format("- {}\n", markdown_cell(line));
    out += "\n";
  }
  return out;
}

json as_json(const Comparison& comparison) {
  const Paired& paired = comparison.paired;
  json row = {{"measure", comparison.measure},
              {"metric", comparison.likelihood ? "nats_per_token" : "accuracy"},
              {"method_a", comparison.method_a},
              {"method_b", comparison.method_b},
              {"control", comparison.control},
              {"a", paired.baseline},
              {"b", paired.candidate},
              {"difference", paired.difference},
              {"interval_method", paired.interval_method},
              {"pairs", paired.pairs},
              {"units", paired.units},
              {"wins", paired.wins},
              {"losses", paired.losses},
              {"ties", paired.ties},
              {"p", paired.p},
              {"p_holm", comparison.adjusted_p},
              {"margin", comparison.margin},
              {"identical", paired.identical},
              {"failed_a", comparison.failed_a},
              {"failed_b", comparison.failed_b},
              {"only_a", comparison.only_a},
              {"only_b", comparison.only_b},
              {"verdict", to_string(comparison.verdict)}};
  if (paired.interval) row["interval"] = {paired.interval->low, paired.interval->high};
  if (paired.mcnemar_p) row["p_mcnemar"] = *paired.mcnemar_p;
  return row;
}

std::string as_json_text(const ComparedRuns& runs, const CompareOptions& options) {
  json document = {{"run_a", runs.run_a},
                   {"run_b", runs.run_b},
                   {"result", conclusion(runs.result)},
                   {"exit_code", static_cast<int>(runs.result)},
                   {"accuracy_margin", options.statistics.accuracy_margin},
                   {"nll_margin", options.statistics.nll_margin},
                   {"alpha", options.statistics.alpha},
                   {"obstacles", runs.obstacles},
                   {"notes", runs.notes},
                   {"unmatched", runs.unmatched},
                   {"differences", runs.differences},
                   {"comparisons", json::array()}};
  for (const Comparison& comparison : runs.comparisons) {
    document["comparisons"].push_back(as_json(comparison));
  }
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  if (path.empty()) return;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Error(path.string(), "", "an error on writing", "a writable file");
}

}  // namespace

int compare_runs(const std::filesystem::path& run_a, const std::filesystem::path& run_b,
                 const CompareOptions& options, std::ostream& out) {
  const ComparedRuns runs = compare(run_a, run_b, options);
  write_text(options.json, as_json_text(runs, options));
  write_text(options.markdown, as_markdown(runs, options));
  out << fmt::format("A: {}  run {}\nB: {}  run {}\n", valid_utf8(run_a.string()),
                     runs.run_a.substr(0, 16), valid_utf8(run_b.string()),
                     runs.run_b.substr(0, 16));
  print_list("notes:", runs.notes, out);
  print_list("unmatched:", runs.unmatched, out);
  print_list("differences:", runs.differences, out);
  print_list("not comparable:", runs.obstacles, out);
  if (!runs.comparisons.empty()) {
    out << '\n' << to_text(comparison_table(runs));
    out << '\n' << legend(options) << '\n';
  }
  out << conclusion(runs.result) << '\n';
  return runs.result;
}

}  // namespace kvg::reports
