#include "reports/tables.h"
#include "reports/text.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr const char* kNone = "\u2013";
constexpr size_t kShownOutput = 60;

// Control characters of outputs, newlines included, would break the line of a table.
std::string one_line(std::string_view text, size_t limit) {
  std::string line = shorten(text, limit);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

Cell answer_cell(const Item* item) {
  if (item == nullptr) return {kNone, ""};
  if (item->failed()) return {"failed", one_line(item->error, kShownOutput)};
  return {
      (item->score_or_zero() > 0 ? "\u2713 " : "\u2717 ") + one_line(item->output, kShownOutput),
      ""};
}

// Of the items that tell methods apart, `limit` that are spread over all of them.
ItemRefs telling_items(const Digest& digest, const Measure& measure,
                       const std::vector<std::map<std::string, const Item*>>& by_method,
                       size_t limit) {
  ItemRefs telling;
  for (const Item* item : digest.items(measure, 0)) {
    if (item->score_or_zero() == 0) continue;
    const bool tells = std::any_of(by_method.begin() + 1, by_method.end(), [&](const auto& items) {
      const auto it = items.find(item->pairing_key());
      return it != items.end() && it->second->score_or_zero() == 0;
    });
    if (tells) telling.push_back(item);
  }
  if (telling.size() <= limit) return telling;
  ItemRefs spread;
  for (size_t i = 0; i < limit; ++i) spread.push_back(telling[i * telling.size() / limit]);
  return spread;
}

}  // namespace

Table behaviour_table(const Digest& digest) {
  Table table;
  table.columns = {{"Task", false},
                   {"Method", false},
                   {"Items"},
                   {"Failed"},
                   {"Tokens out", true, "mean"},
                   {"Cut off", true, "at the limit"}};
  for (const Measure& measure : digest.measures) {
    if (measure.likelihood) continue;
    table.rules.push_back(table.rows.size());
    for (size_t m = 0; m < digest.methods.size(); ++m) {
      const ItemRefs items = digest.items(measure, m);
      int64_t failed = 0, out = 0, truncated = 0;
      for (const Item* item : items) {
        failed += item->failed() ? 1 : 0;
        out += item->n_out;
        truncated += item->truncated ? 1 : 0;
      }
      const auto answered = static_cast<double>(static_cast<int64_t>(items.size()) - failed);
      table.rows.push_back(
          {{m == 0 ? measure.title : "", ""},
           method_cell(digest.methods[m]),
           {thousands(static_cast<int64_t>(items.size())), ""},
           {thousands(failed), ""},
           {answered > 0 ? fixed(static_cast<double>(out) / answered, 1) : kNone, ""},
           {answered > 0 ? percent(static_cast<double>(truncated) / answered) : kNone, ""}});
    }
  }
  return table;
}

Table failure_table(const Digest& digest) {
  Table table;
  table.columns = {
      {"Method", false}, {"Task", false}, {"Items"}, {"Error", false}, {"First item", false}};
  for (const MethodView& method : digest.methods) {
    if (!method.record->error.empty() || method.record->status == "failed") {
      table.rows.push_back({method_cell(method),
                            {"all", ""},
                            {kNone, ""},
                            {one_line(method.record->error, 200), ""},
                            {kNone, ""}});
    }
    // One row for each message of a task, so that one cause is one line however often it struck.
    std::map<std::pair<std::string, std::string>, ItemRefs> causes;
    for (const Item& item : digest.run->items) {
      if (item.method == method.record->method && item.failed()) {
        causes[{item.task, item.error}].push_back(&item);
      }
    }
    for (const auto& [cause, items] : causes) {
      table.rows.push_back({method_cell(method),
                            {cause.first, ""},
                            {thousands(static_cast<int64_t>(items.size())), ""},
                            {one_line(cause.second, 200), ""},
                            {one_line(items.front()->pairing_key(), 120), ""}});
    }
  }
  return table;
}

Table example_table(const Digest& digest, const Measure& measure, size_t limit) {
  Table table;
  table.columns = {{"Question", false}, {"Expected", false}};
  std::vector<std::map<std::string, const Item*>> by_method(digest.methods.size());
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    table.columns.push_back({digest.methods[m].label, false});
    for (const Item* item : digest.items(measure, m)) by_method[m][item->pairing_key()] = item;
  }
  for (const Item* item : telling_items(digest, measure, by_method, limit)) {
    std::vector<Cell> row = {{one_line(item->question, 160), item->cell_text()},
                             {one_line(item->expected, kShownOutput), ""}};
    for (const auto& items : by_method) {
      const auto it = items.find(item->pairing_key());
      row.push_back(answer_cell(it == items.end() ? nullptr : it->second));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table provenance_table(const Digest& digest) {
  const Run& run = *digest.run;
  Table table;
  table.columns = {{"What", false}, {"Value", false}};
  const auto add = [&table](const std::string& what, const std::string& value) {
    table.rows.push_back({{what, ""}, {value, ""}});
  };
  add("run id", run.run_id);
  add("status", run.status);
  add("suite", run.suite);
  add("seed", std::to_string(run.seed));
  if (run.limit) add("limit", fmt::format("{} items per cell", *run.limit));
  if (!run.samples.empty()) add("samples", "only the indices " + run.samples);
  add("model", fmt::format("{}, sha256 {}", run.model, run.model_hash));
  add("tokenizer", "sha256 " + run.tokenizer_hash);
  add("executable", run.build);
  for (const TaskRecord& task : run.tasks) {
    add(fmt::format("{} (version {})", task.task, task.version), task.settings);
    for (const DataRecord& data : task.data) {
      add(fmt::format("{} data", task.task),
          fmt::format("{}, {} bytes, sha256 {}", data.name, thousands(data.bytes), data.sha256));
    }
  }
  for (const auto& [name, value] : run.provenance) add(name, value);
  return table;
}

}  // namespace kvg::reports
