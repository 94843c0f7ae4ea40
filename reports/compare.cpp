#include "reports/compare.h"

#include "base/error.h"
#include "reports/digest.h"
#include "reports/record.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// Which method of A meets which one of B.
using MethodPairs = std::vector<std::pair<const MethodRecord*, const MethodRecord*>>;

MethodPairs pair_methods(const Run& a, const Run& b, const CompareOptions& options,
                         ComparedRuns* runs) {
  if (options.method_a.empty() != options.method_b.empty()) {
    throw Error("compare", options.method_a.empty() ? "method-a" : "method-b", "nothing",
                "a method, when the other one is given");
  }
  if (!options.method_a.empty()) {
    return {{&resolve_method(a, options.method_a), &resolve_method(b, options.method_b)}};
  }
  MethodPairs pairs;
  for (const MethodRecord& method : a.methods) {
    if (const MethodRecord* partner = b.find_method(method.method)) {
      pairs.emplace_back(&method, partner);
    } else {
      runs->unmatched.push_back("method only in A: " + method.method);
    }
  }
  for (const MethodRecord& method : b.methods) {
    if (a.find_method(method.method) == nullptr) {
      runs->unmatched.push_back("method only in B: " + method.method);
    }
  }
  return pairs;
}

// What makes numbers of the two runs numbers of different things.
void find_obstacles(const Run& a, const Run& b, const CompareOptions& options, ComparedRuns* runs) {
  if (a.model_hash != b.model_hash && !options.across_models) {
    runs->obstacles.push_back(fmt::format("different models: {} ({}) and {} ({})", a.model,
                                          a.model_hash.substr(0, 12), b.model,
                                          b.model_hash.substr(0, 12)));
  }
  if (a.tokenizer_hash != b.tokenizer_hash) runs->obstacles.push_back("different tokenizers");
  for (const TaskRecord& task : a.tasks) {
    const TaskRecord* other = b.find_task(task.task);
    if (other == nullptr) {
      runs->unmatched.push_back("task only in A: " + task.task);
      continue;
    }
    if (task.version != other->version) {
      runs->obstacles.push_back(fmt::format("{}: version {} and {} of the task", task.task,
                                            task.version, other->version));
    }
    if (task.data_hashes() != other->data_hashes()) {
      runs->obstacles.push_back(task.task + ": different data");
    }
    if (task.settings != other->settings) {
      runs->differences.push_back(
          fmt::format("{}: settings {} and {}", task.task, task.settings, other->settings));
    }
  }
  for (const TaskRecord& task : b.tasks) {
    if (a.find_task(task.task) == nullptr) {
      runs->unmatched.push_back("task only in B: " + task.task);
    }
  }
}

void find_differences(const Run& a, const Run& b, ComparedRuns* runs) {
  const auto differ = [runs](const std::string& name, const std::string& x, const std::string& y) {
    if (x != y) runs->differences.push_back(fmt::format("{}: {} and {}", name, x, y));
  };
  differ("executable", a.build, b.build);
  if (a.model_hash != b.model_hash) differ("model", a.model_hash, b.model_hash);
  std::set<std::string> names;
  for (const Run* run : {&a, &b}) {
    for (const auto& [name, value] : run->provenance) names.insert(name);
  }
  for (const std::string& name : names) {
    if (name == "started" || name == "finished") continue;
    differ(name, a.provenance_value(name), b.provenance_value(name));
  }
}

void take_notes(const Run& run, const char* which, ComparedRuns* runs) {
  for (const std::string& note : run.notes)
    runs->notes.push_back(fmt::format("{}: {}", which, note));
  if (!run.complete()) {
    runs->notes.push_back(fmt::format("{} is INCOMPLETE: status {}, {} of {} items", which,
                                      run.status, run.items.size(), run.planned_items));
  }
}

int64_t count_failed(const ItemRefs& items) {
  return std::count_if(items.begin(), items.end(), [](const Item* item) { return item->failed(); });
}

// One measure of one pair of methods; nothing when they share no item.
std::optional<Comparison> compare_measure(
    const Digest& a, const Digest& b, const Measure& measure,
    const std::pair<const MethodRecord*, const MethodRecord*>& pair, const CompareOptions& options,
    ComparedRuns* runs) {
  const auto keep = [&](const Item& item) { return measure.covers(item); };
  const ItemRefs items_a = select(*a.run, pair.first->method, "context", measure.task, keep);
  const ItemRefs items_b = select(*b.run, pair.second->method, "context", measure.task, keep);
  const Pairs pairs = match(items_a, items_b);
  Comparison comparison;
  comparison.measure = measure.title;
  comparison.method_a = pair.first->method;
  comparison.method_b = pair.second->method;
  comparison.likelihood = measure.likelihood;
  comparison.control = pair.first->role == Role::kControl || pair.second->role == Role::kControl;
  comparison.failed_a = count_failed(items_a);
  comparison.failed_b = count_failed(items_b);
  comparison.only_a = pairs.only_baseline.size();
  comparison.only_b = pairs.only_candidate.size();
  if (comparison.only_a + comparison.only_b > 0) {
    runs->unmatched.push_back(fmt::format("{}, {}: {} items only in A, {} only in B", measure.title,
                                          pair.first->method, comparison.only_a,
                                          comparison.only_b));
  }
  for (const auto& [x, y] : pairs.matched) {
    if (same_item(*x, *y)) continue;
    runs->obstacles.push_back(
        fmt::format("{}: different items at the same place (first: {})", measure.title, x->key));
    return std::nullopt;
  }
  auto paired = measure.likelihood ? paired_nats(pairs, options.statistics)
                                   : paired_accuracy(pairs, options.statistics);
  if (!paired) return std::nullopt;
  comparison.margin = measure.likelihood
                          ? options.statistics.nll_margin * std::abs(paired->baseline)
                          : options.statistics.accuracy_margin;
  comparison.paired = std::move(*paired);
  return comparison;
}

void judge_family(std::vector<Comparison>* family, const StatisticsOptions& options) {
  std::vector<double> p_values;
  for (const Comparison& comparison : *family) p_values.push_back(comparison.paired.p);
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < family->size(); ++i) {
    Comparison& comparison = (*family)[i];
    comparison.adjusted_p = adjusted[i];
    comparison.verdict = judge(comparison.paired, comparison.margin, !comparison.likelihood,
                               adjusted[i], options.alpha);
  }
}

CompareResult overall(const ComparedRuns& runs, bool strict) {
  if (!runs.obstacles.empty()) return kNotComparable;
  if (strict && !(runs.differences.empty() && runs.unmatched.empty())) return kNotComparable;
  CompareResult result = kSameOrBetter;
  bool counted = false;
  for (const Comparison& comparison : runs.comparisons) {
    if (comparison.control) continue;
    counted = true;
    if (comparison.verdict == Verdict::kWorse) return kWorse;
    if (comparison.verdict == Verdict::kInconclusive) result = kInconclusive;
  }
  return counted ? result : kNotComparable;
}

}  // namespace

ComparedRuns compare(const std::filesystem::path& run_a, const std::filesystem::path& run_b,
                     const CompareOptions& options) {
  const Run a = read_run(run_a), b = read_run(run_b);
  ComparedRuns runs;
  runs.run_a = a.run_id;
  runs.run_b = b.run_id;
  take_notes(a, "A", &runs);
  take_notes(b, "B", &runs);
  find_obstacles(a, b, options, &runs);
  find_differences(a, b, &runs);
  const MethodPairs methods = pair_methods(a, b, options, &runs);
  if (!runs.obstacles.empty()) return runs;

  const Digest digest_a = outline(a, options.statistics), digest_b = outline(b, options.statistics);
  for (const Measure& measure : digest_a.measures) {
    std::vector<Comparison> family;
    for (const auto& pair : methods) {
      auto comparison = compare_measure(digest_a, digest_b, measure, pair, options, &runs);
      if (comparison) family.push_back(std::move(*comparison));
    }
    judge_family(&family, options.statistics);
    runs.comparisons.insert(runs.comparisons.end(), family.begin(), family.end());
  }
  for (const Measure& measure : digest_b.measures) {
    const bool known =
        std::any_of(digest_a.measures.begin(), digest_a.measures.end(), [&](const Measure& other) {
          return other.task == measure.task && other.cell == measure.cell;
        });
    if (!known && a.find_task(measure.task) != nullptr) {
      runs.unmatched.push_back("only in B: " + measure.title);
    }
  }
  if (runs.comparisons.empty() && runs.obstacles.empty()) {
    runs.obstacles.push_back("no method and task of A has an item that B has too");
  }
  if (!runs.obstacles.empty()) runs.comparisons.clear();
  runs.result = overall(runs, options.strict);
  return runs;
}

}  // namespace kvg::reports
