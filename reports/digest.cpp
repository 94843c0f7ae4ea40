#include "reports/digest.h"

#include "base/names.h"
#include "reports/labels.h"
#include "reports/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

namespace kvg::reports {

namespace {

std::optional<double> as_number(const std::string& text) {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

std::tuple<bool, double, bool, std::string> numbers_first(const std::string& text) {
  if (const auto number = as_number(text)) return {false, *number, false, text};
  const size_t at = text.find_first_of(".0123456789");
  double low = 0;
  const bool range =
      at != std::string::npos && at <= 1 &&
      std::from_chars(text.data() + at, text.data() + text.size(), low).ec == std::errc();
  return {!range, low, true, text};
}

std::vector<MethodView> view_methods(const Run& run) {
  std::vector<MethodView> views;
  for (const Role role : {Role::kReference, Role::kMethod, Role::kControl}) {
    int index = 0;
    for (const MethodRecord& method : run.methods) {
      if (method.role != role) continue;
      const SeriesStyle style = role == Role::kReference ? reference_style()
                                : role == Role::kControl ? control_style(index)
                                                         : method_style(index);
      views.push_back({&method, "", style});
      ++index;
    }
  }
  std::vector<std::string> names;
  for (const MethodView& view : views) names.push_back(view.record->method);
  const std::vector<std::string> labels = short_labels(names);
  for (size_t i = 0; i < views.size(); ++i) views[i].label = labels[i];
  return views;
}

// The axes whose values are tests of their own. Perplexities of two protocols or contexts do not
// mix; other tasks pool over where and how far back the evidence stands, and over nothing else.
std::map<std::string, std::string> fixed_axes(const Item& item, bool likelihood) {
  std::map<std::string, std::string> axes = item.cell;
  if (!likelihood) {
    axes.erase("length");
    axes.erase("depth");
  }
  return axes;
}

// "perplexity (stream, 4,096)", "needle (messy)"
std::string measure_title(const std::string& task, const std::map<std::string, std::string>& axes) {
  std::vector<std::string> values;
  for (const auto& [axis, value] : axes) {
    const auto number = as_number(value);
    values.push_back(number ? thousands(std::llround(*number)) : value);
    // The protocol says what the context means, so it comes first.
    if (axis == "protocol") std::rotate(values.begin(), values.end() - 1, values.end());
  }
  return values.empty() ? task : task + " (" + join(values) + ")";
}

std::vector<Measure> list_measures(const Run& run) {
  std::vector<Measure> measures;
  for (const TaskRecord& task : run.tasks) {
    const bool likelihood = task.task == "perplexity";
    std::set<std::map<std::string, std::string>> variants;
    for (const Item& item : run.items) {
      if (item.task == task.task) variants.insert(fixed_axes(item, likelihood));
    }
    for (const auto& variant : variants) {
      Measure measure;
      measure.task = task.task;
      measure.likelihood = likelihood;
      measure.cell = variant;
      measure.title = variants.size() == 1 ? task.task : measure_title(task.task, variant);
      measures.push_back(std::move(measure));
    }
  }
  return measures;
}

void fill_metrics(const Digest& digest, Measure* measure) {
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    const ItemRefs items = digest.items(*measure, m);
    measure->metrics.push_back(measure->likelihood ? nats_per_token(items, digest.options)
                                                   : accuracy(items, digest.options));
    measure->bits_per_byte.push_back(bits_per_byte(items));
    for (const Item* item : items) {
      const double length = item->axis(measure->likelihood ? "context" : "length");
      const double tokens = std::isfinite(length) ? length : static_cast<double>(item->n_prompt);
      measure->length = std::max(measure->length, static_cast<int64_t>(std::llround(tokens)));
    }
  }
  if (!measure->likelihood) {
    measure->closed_book = accuracy(digest.items(*measure, 0, "closed-book"), digest.options);
    measure->oracle = accuracy(digest.items(*measure, 0, "oracle"), digest.options);
  }
}

void fill_contrasts(const Digest& digest, Measure* measure) {
  const ItemRefs reference = digest.items(*measure, 0);
  std::vector<double> p_values;
  measure->contrasts.resize(digest.methods.size());
  for (size_t m = 1; m < digest.methods.size(); ++m) {
    const Pairs pairs = match(reference, digest.items(*measure, m));
    auto paired = measure->likelihood ? paired_nats(pairs, digest.options)
                                      : paired_accuracy(pairs, digest.options);
    if (!paired) continue;
    p_values.push_back(paired->p);
    Contrast contrast;
    contrast.margin = measure->likelihood ? digest.options.nll_margin * std::abs(paired->baseline)
                                          : digest.options.accuracy_margin;
    contrast.paired = std::move(*paired);
    measure->contrasts[m] = std::move(contrast);
  }
  const std::vector<double> adjusted = holm(p_values);
  size_t next = 0;
  for (std::optional<Contrast>& contrast : measure->contrasts) {
    if (!contrast) continue;
    contrast->adjusted_p = adjusted[next++];
    contrast->verdict = judge(contrast->paired, contrast->margin, !measure->likelihood,
                              contrast->adjusted_p, digest.options.alpha);
  }
}

}  // namespace

bool NumbersFirst::operator()(const std::string& a, const std::string& b) const {
  return numbers_first(a) < numbers_first(b);
}

bool Measure::covers(const Item& item) const {
  return item.task == task && fixed_axes(item, likelihood) == cell;
}

std::vector<const Measure*> Digest::leading_measures() const {
  std::vector<const Measure*> leading;
  for (const Measure& measure : measures) {
    if (!measure.likelihood || &measure == headline_likelihood()) leading.push_back(&measure);
  }
  return leading;
}

const Measure* Digest::headline_likelihood() const {
  const Measure* best = nullptr;
  const auto rank = [](const Measure& measure) {
    const auto it = measure.cell.find("protocol");
    const bool stream = it != measure.cell.end() && it->second == "stream";
    return std::tuple(stream, measure.length, !measure.cell.contains("feed"));
  };
  for (const Measure& measure : measures) {
    if (!measure.likelihood) continue;
    const bool better = best == nullptr || rank(measure) > rank(*best);
    if (better) best = &measure;
  }
  return best;
}

ItemRefs Digest::items(const Measure& measure, size_t method, std::string_view condition) const {
  return select(*run, methods[method].record->method, condition, measure.task,
                [&](const Item& item) { return measure.covers(item); });
}

Digest outline(const Run& run, const StatisticsOptions& options) {
  return {&run, options, view_methods(run), list_measures(run), 0};
}

Digest make_digest(const Run& run, const StatisticsOptions& options) {
  Digest digest = outline(run, options);
  std::vector<Measure> measures = std::move(digest.measures);
  for (Measure& measure : measures) {
    fill_metrics(digest, &measure);
    fill_contrasts(digest, &measure);
    digest.longest = std::max(digest.longest, measure.length);
  }
  digest.measures = std::move(measures);
  return digest;
}

const ProvisionedBytes* provisioned(const MethodRecord& method, int64_t tokens) {
  for (const ProvisionedBytes& entry : method.provisioned) {
    if (entry.tokens >= tokens) return &entry;
  }
  return method.provisioned.empty() ? nullptr : &method.provisioned.back();
}

Breakdown break_down(const Digest& digest, const Measure& measure,
                     const std::function<std::string(const Item&)>& key) {
  std::map<std::string, std::vector<ItemRefs>, NumbersFirst> groups;
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    for (const Item* item : digest.items(measure, m)) {
      const std::string group = key(*item);
      if (group.empty()) continue;
      auto& by_method = groups[group];
      by_method.resize(digest.methods.size());
      by_method[m].push_back(item);
    }
  }
  Breakdown breakdown;
  for (const auto& [group, by_method] : groups) {
    breakdown.groups.push_back(group);
    std::vector<std::optional<Metric>> row;
    for (const ItemRefs& items : by_method) {
      row.push_back(measure.likelihood ? nats_per_token(items, digest.options)
                                       : accuracy(items, digest.options));
    }
    breakdown.cells.push_back(std::move(row));
  }
  return breakdown;
}

std::vector<std::string> axis_values(const Digest& digest, const Measure& measure,
                                     const std::string& axis) {
  std::set<std::string, NumbersFirst> values;
  for (const Item& item : digest.run->items) {
    if (!measure.covers(item)) continue;
    if (const auto it = item.cell.find(axis); it != item.cell.end()) values.insert(it->second);
  }
  return {values.begin(), values.end()};
}

}  // namespace kvg::reports
