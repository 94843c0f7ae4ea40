#include "reports/tables.h"

#include "reports/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr const char* kNone = "\u2013";

// The largest total that any item of `method` reported.
int64_t measured_bytes(const Digest& digest, const MethodView& method) {
  int64_t most = 0;
  for (const Item& item : digest.run->items) {
    if (item.method == method.record->method && item.condition == "context") {
      most = std::max(most, item.cache_bytes.total);
    }
  }
  return most;
}

std::string interval_bounds(const Interval& interval, double unit, int decimals, bool with_sign) {
  const auto print = [&](double value) {
    return with_sign ? signed_fixed(value * unit, decimals) : fixed(value * unit, decimals);
  };
  return fmt::format("[{}, {}]", print(interval.low), print(interval.high));
}

std::string failures(int64_t failed) {
  return failed > 0 ? fmt::format(" ({} failed)", failed) : "";
}

}  // namespace

std::string interval_text(const std::optional<Interval>& interval, double unit, int decimals,
                          bool with_sign) {
  return interval ? interval_bounds(*interval, unit, decimals, with_sign) : "no interval";
}

std::string ratio_text(double bytes, double reference) {
  if (!(bytes > 0) || !(reference > 0)) return kNone;
  const double ratio = reference / bytes;
  if (std::abs(ratio - 1) < 0.005) return "1";
  if (ratio < 1) return fixed(1 / ratio, 2);
  return "1/" + fixed(ratio, ratio < 9.95 ? 1 : 0);
}

Cell method_cell(const MethodView& method) {
  std::string detail;
  if (method.record->role == Role::kReference) detail = "reference";
  if (method.record->role == Role::kControl) detail = "control";
  return {method.label, detail, std::nullopt, method.style.css_class, method.record->method};
}

Cell accuracy_cell(const std::optional<Metric>& metric) {
  if (!metric) return {kNone, ""};
  return {
      percent(metric->value) + failures(metric->failed),
      interval_text(metric->interval, 100, 1, false), std::nullopt, "",
      fmt::format("{} items, {} contexts, {}", metric->n, metric->units, metric->interval_method)};
}

Cell nats_cell(const std::optional<Metric>& metric) {
  if (!metric) return {kNone, ""};
  return {fixed(metric->value, 3) + failures(metric->failed),
          interval_text(metric->interval, 1, 3, false), std::nullopt, "",
          fmt::format("{} rows, {} blocks, {}", metric->n, metric->units, metric->interval_method)};
}

Cell contrast_cell(const Measure& measure, const std::optional<Contrast>& contrast) {
  if (!contrast) return {kNone, ""};
  const Paired& paired = contrast->paired;
  const double unit = measure.likelihood ? 1 : 100;
  const int decimals = measure.likelihood ? 3 : 1;
  return {signed_fixed(paired.difference * unit, decimals),
          interval_text(paired.interval, unit, decimals, true), contrast->verdict, "",
          fmt::format("{} pairs, {} units, wins {}, losses {}, ties {}, p {}, Holm {}",
                      paired.pairs, paired.units, paired.wins, paired.losses, paired.ties,
                      p_value(paired.p), p_value(contrast->adjusted_p))};
}

std::vector<std::vector<const Measure*>> rows_of(const std::vector<const Measure*>& measures) {
  constexpr size_t kSideBySide = 3;
  const size_t rows = std::max<size_t>((measures.size() + kSideBySide - 1) / kSideBySide, 1);
  std::vector<std::vector<const Measure*>> groups(rows);
  for (size_t i = 0; i < measures.size(); ++i) {
    groups[i * rows / measures.size()].push_back(measures[i]);
  }
  return groups;
}

Table result_table(const Digest& digest, const std::vector<const Measure*>& measures) {
  Table table;
  table.columns = {{"Method", false},
                   {"Cache", true, fmt::format("at {} tokens", thousands(digest.longest))}};
  for (const Measure* measure : measures) {
    if (measure->likelihood) {
      table.columns.push_back({"Perplexity", true, "nats per token"});
      table.columns.push_back({"Bits", true, "per byte"});
    } else {
      table.columns.push_back({measure->title, true, "right answers"});
    }
    table.columns.push_back({"Difference", true, measure->likelihood ? "nats" : "points"});
  }
  table.columns.push_back({"Prefill", true, "tokens/s"});
  const ProvisionedBytes* full = provisioned(*digest.reference().record, digest.longest);
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    const MethodRecord& record = *digest.methods[m].record;
    const ProvisionedBytes* size = provisioned(record, digest.longest);
    const auto total = size != nullptr ? static_cast<double>(size->bytes.total) : 0.0;
    const std::string share = full != nullptr && m > 0
                                  ? ratio_text(total, static_cast<double>(full->bytes.total)) +
                                        " of " + digest.reference().label
                                  : "";
    std::vector<Cell> row = {method_cell(digest.methods[m]),
                             {size != nullptr ? human_bytes(total) : kNone, share}};
    for (const Measure* measure : measures) {
      if (measure->likelihood) {
        row.push_back(nats_cell(measure->metrics[m]));
        row.push_back({fixed(measure->bits_per_byte[m], 3), ""});
      } else {
        row.push_back(accuracy_cell(measure->metrics[m]));
      }
      row.push_back(contrast_cell(*measure, measure->contrasts[m]));
    }
    const double speed = record.prefill_seconds > 0
                             ? static_cast<double>(record.prefill_tokens) / record.prefill_seconds
                             : 0;
    row.push_back({speed > 0 ? thousands(std::llround(speed)) : kNone, ""});
    if (m > 0 && record.role == Role::kControl &&
        digest.methods[m - 1].record->role != Role::kControl) {
      table.rules.push_back(m);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table control_table(const Digest& digest) {
  Table table;
  table.columns = {{"Task", false}, {"Closed-book", true, "the question alone"}};
  std::vector<size_t> controls;
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    if (digest.methods[m].record->role != Role::kControl) continue;
    controls.push_back(m);
    table.columns.push_back({digest.methods[m].label, true, "control"});
  }
  table.columns.push_back({digest.reference().label, true, "reference"});
  table.columns.push_back({"Oracle", true, "the evidence alone"});
  for (const Measure& measure : digest.measures) {
    if (measure.likelihood) continue;
    std::vector<Cell> row = {{measure.title, ""}, accuracy_cell(measure.closed_book)};
    for (const size_t control : controls) row.push_back(accuracy_cell(measure.metrics[control]));
    row.push_back(accuracy_cell(measure.metrics[0]));
    row.push_back(accuracy_cell(measure.oracle));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table memory_table(const Digest& digest) {
  Table table;
  table.columns = {{"Method", false},
                   {"Keys"},
                   {"Values"},
                   {"Scales"},
                   {"Metadata"},
                   {"Total", true, "provisioned"},
                   {"Per token", true, "of context"},
                   {"Most in use", true, "any item"}};
  for (const MethodView& method : digest.methods) {
    const ProvisionedBytes* size = provisioned(*method.record, digest.longest);
    if (size == nullptr) continue;
    const CacheBytes& bytes = size->bytes;
    const double per_token =
        static_cast<double>(bytes.total) / static_cast<double>(std::max<int64_t>(size->tokens, 1));
    table.rows.push_back({method_cell(method),
                          {thousands(bytes.keys), ""},
                          {thousands(bytes.values), ""},
                          {thousands(bytes.scales), ""},
                          {thousands(bytes.metadata), ""},
                          {thousands(bytes.total), ""},
                          {fixed(per_token, 1), ""},
                          {thousands(measured_bytes(digest, method)), ""}});
  }
  return table;
}

Table likelihood_table(const Digest& digest) {
  Table table;
  table.columns = {{"Protocol, context", false},
                   {"Method", false},
                   {"Nats", true, "per token"},
                   {"Perplexity"},
                   {"Bits", true, "per byte"},
                   {"Difference", true, "nats per token"},
                   {"Relative"},
                   {"p", true, "Holm"}};
  for (const Measure& measure : digest.measures) {
    if (!measure.likelihood) continue;
    table.rules.push_back(table.rows.size());
    for (size_t m = 0; m < digest.methods.size(); ++m) {
      const auto& metric = measure.metrics[m];
      const auto& contrast = measure.contrasts[m];
      table.rows.push_back(
          {{m == 0 ? measure.title : "", ""},
           method_cell(digest.methods[m]),
           nats_cell(metric),
           {metric ? fixed(std::exp(metric->value), 2) : kNone, ""},
           {fixed(measure.bits_per_byte[m], 3), ""},
           contrast_cell(measure, contrast),
           {contrast
                ? signed_fixed(contrast->paired.difference / contrast->paired.baseline * 100, 2) +
                      "\u00A0%"
                : kNone,
            ""},
           {contrast ? p_value(contrast->adjusted_p) : kNone, ""}});
    }
  }
  return table;
}

Table breakdown_table(const Digest& digest, const Breakdown& breakdown, const std::string& title) {
  Table table;
  table.columns = {{"Method", false, title}};
  for (size_t g = 0; g < breakdown.groups.size(); ++g) {
    int64_t n = 0;
    for (const auto& metric : breakdown.cells[g]) n = std::max(n, metric ? metric->n : 0);
    table.columns.push_back({breakdown.groups[g], true, fmt::format("n = {}", n)});
  }
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    std::vector<Cell> row = {method_cell(digest.methods[m])};
    for (const auto& cells : breakdown.cells) row.push_back(accuracy_cell(cells[m]));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table method_table(const Digest& digest) {
  Table table;
  table.columns = {{"Name here", false}, {"Method", false}};
  for (const MethodView& method : digest.methods) {
    table.rows.push_back({method_cell(method), {method.record->method, ""}});
  }
  return table;
}

std::vector<std::string> size_warnings(const Digest& digest) {
  std::vector<std::string> warnings;
  for (const MethodView& method : digest.methods) {
    const ProvisionedBytes* size = provisioned(*method.record, digest.longest);
    if (size == nullptr) continue;
    const int64_t measured = measured_bytes(digest, method);
    if (static_cast<double>(measured) <= 1.02 * static_cast<double>(size->bytes.total)) continue;
    warnings.push_back(fmt::format(
        "{}: an item held {} bytes, more than 2 % above the {} provisioned; its size is refused",
        method.label, thousands(measured), thousands(size->bytes.total)));
  }
  return warnings;
}

}  // namespace kvg::reports
