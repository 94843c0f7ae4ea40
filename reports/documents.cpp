#include "reports/documents.h"

#include "base/names.h"
#include "reports/summary.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <map>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

void add_warnings(const Digest& digest, std::string* out) {
  if (const std::string why = incompleteness(*digest.run); !why.empty()) {
    *out += fmt::format("**INCOMPLETE**: {}.\n\n", markdown_cell(why));
  }
  std::vector<std::string> notes = digest.run->notes;
  for (const std::string& warning : size_warnings(digest)) notes.push_back(warning);
  for (const std::string& note : notes) *out += fmt::format("- {}\n", markdown_cell(note));
  if (!notes.empty()) *out += "\n";
}

void add_table(const std::string& title, const Table& table, std::string* out) {
  if (!table.rows.empty()) *out += fmt::format("## {}\n\n{}\n", title, to_markdown(table));
}

void add_strata(const Digest& digest, const Measure& measure, const std::string& title,
                const std::function<std::string(const Item&)>& key, std::string* out) {
  const Breakdown breakdown = break_down(digest, measure, key);
  if (breakdown.groups.size() < 2) return;
  *out += fmt::format("### {} by {}\n\n{}\n", markdown_cell(measure.title), title,
                      to_markdown(breakdown_table(digest, breakdown, "")));
}

std::string csv_number(double value) { return fmt::format("{:.8g}", value); }

struct CsvRow {
  const Digest& digest;
  const MethodView& method;
  const Measure& measure;
  std::string condition, cell;
};

std::string csv_line(const CsvRow& row, const Metric& metric, const Contrast* contrast,
                     int64_t tokens) {
  const auto bound = [](const std::optional<Interval>& interval, double Interval::*side) {
    return interval ? csv_number((*interval).*side) : std::string();
  };
  const Role role = row.method.record->role;
  std::vector<std::string> fields = {row.digest.run->model,
                                     row.method.record->method,
                                     role == Role::kReference ? "reference"
                                     : role == Role::kControl ? "control"
                                                              : "method",
                                     row.condition,
                                     row.measure.task,
                                     row.cell,
                                     row.measure.likelihood ? "nats_per_token" : "accuracy",
                                     csv_number(metric.value),
                                     bound(metric.interval, &Interval::low),
                                     bound(metric.interval, &Interval::high),
                                     metric.interval_method,
                                     std::to_string(metric.n),
                                     std::to_string(metric.units),
                                     std::to_string(metric.failed)};
  if (contrast != nullptr) {
    fields.insert(
        fields.end(),
        {csv_number(contrast->paired.difference), bound(contrast->paired.interval, &Interval::low),
         bound(contrast->paired.interval, &Interval::high), csv_number(contrast->adjusted_p),
         std::string(to_string(contrast->verdict))});
  } else {
    fields.insert(fields.end(), 5, "");
  }
  const ProvisionedBytes* size = provisioned(*row.method.record, tokens);
  fields.push_back(size != nullptr ? std::to_string(size->bytes.total) : "");
  for (std::string& field : fields) field = csv_field(field);
  return join(fields, ",") + "\n";
}

void add_csv_cells(const Digest& digest, const Measure& measure, size_t m,
                   const std::string& condition, std::string* out) {
  std::map<std::string, ItemRefs> cells;
  for (const Item* item : digest.items(measure, m, condition)) {
    cells[item->cell_text()].push_back(item);
  }
  for (const auto& [cell, items] : cells) {
    const auto metric = measure.likelihood ? nats_per_token(items, digest.options)
                                           : accuracy(items, digest.options);
    if (!metric) continue;
    const double length = items.front()->axis(measure.likelihood ? "context" : "length");
    const int64_t tokens = length > 0 ? static_cast<int64_t>(length) : measure.length;
    *out +=
        csv_line({digest, digest.methods[m], measure, condition, cell}, *metric, nullptr, tokens);
  }
}

}  // namespace

std::string markdown_document(const Digest& digest) {
  const Run& run = *digest.run;
  std::string out = fmt::format("# What each cache keeps on {}\n\n", markdown_cell(run.model));
  out += fmt::format("Run {} of suite {}, started {}, commit {}, seed {}.\n\n",
                     markdown_cell(run.run_id.substr(0, 16)), markdown_cell(run.suite),
                     markdown_cell(run.provenance_value("started")),
                     markdown_cell(run.provenance_value("git_commit").substr(0, 12)), run.seed);
  add_warnings(digest, &out);
  const Summary summary = summarise(digest);
  out += markdown_cell(summary.measured) + "\n\n";
  if (!summary.main.empty()) out += markdown_cell(join(summary.main, " ")) + "\n\n";
  for (const Summary::Finding& finding : summary.findings) {
    out += fmt::format("- **{}** ({})\n", markdown_cell(finding.method->label),
                       markdown_cell(finding.size));
    for (const Summary::Statement& statement : finding.statements) {
      out += statement.verdict ? fmt::format("  - **{}**: {}\n", verdict_word(*statement.verdict),
                                             markdown_cell(statement.text))
                               : fmt::format("  - {}\n", markdown_cell(statement.text));
    }
  }
  out += "\n";
  out += "## Results\n\n";
  for (const auto& group : rows_of(digest.leading_measures())) {
    out += to_markdown(result_table(digest, group)) + "\n";
  }
  add_table("Floors and ceilings", control_table(digest), &out);
  add_table("Perplexity", likelihood_table(digest), &out);
  for (const Measure& measure : digest.measures) {
    if (measure.likelihood) continue;
    add_table(fmt::format("{}: where answers are lost", markdown_cell(measure.title)),
              retention_table(digest, measure), &out);
    add_strata(
        digest, measure, "length",
        [](const Item& item) {
          const auto it = item.cell.find("length");
          return it == item.cell.end() ? std::string() : it->second;
        },
        &out);
    add_strata(
        digest, measure, "depth",
        [](const Item& item) {
          const auto it = item.cell.find("depth");
          return it == item.cell.end() ? std::string() : it->second;
        },
        &out);
    for (const char* stratum : {"kind", "overlap_bin"}) {
      add_strata(
          digest, measure, stratum,
          [stratum](const Item& item) {
            const auto it = item.strata.find(stratum);
            return it == item.strata.end() ? std::string() : it->second;
          },
          &out);
    }
  }
  add_table("Memory", memory_table(digest), &out);
  add_table("Failures", failure_table(digest), &out);
  out += "## Reproduction\n\n";
  if (!run.command.empty()) out += fmt::format("    {}\n\n", shorten(join(run.command, " "), 2000));
  out += to_markdown(method_table(digest)) + "\n" + to_markdown(provenance_table(digest));
  return out;
}

std::string csv_document(const Digest& digest) {
  std::string out =
      "model,method,role,condition,task,cell,metric,estimate,low,high,interval,n,units,failed,"
      "difference,difference_low,difference_high,p_holm,verdict,bytes\n";
  for (const Measure& measure : digest.measures) {
    for (size_t m = 0; m < digest.methods.size(); ++m) {
      const auto& contrast = measure.contrasts[m];
      if (const auto& metric = measure.metrics[m]) {
        out += csv_line({digest, digest.methods[m], measure, "context", "all"}, *metric,
                        contrast ? &*contrast : nullptr, measure.length);
      }
      add_csv_cells(digest, measure, m, "context", &out);
      if (m != 0) continue;
      for (const auto& [condition, metric] :
           {std::pair("closed-book", measure.closed_book), std::pair("oracle", measure.oracle)}) {
        if (!metric) continue;
        out += csv_line({digest, digest.methods[0], measure, condition, "all"}, *metric, nullptr,
                        measure.length);
        add_csv_cells(digest, measure, 0, condition, &out);
      }
    }
  }
  return out;
}

}  // namespace kvg::reports
