#pragma once

#include "reports/charts/palette.h"
#include "reports/metrics.h"
#include "reports/record.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

// What a report says, before it is laid out: computed once, then written as HTML, Markdown, CSV.

struct MethodView {
  const MethodRecord* record;
  std::string label;  // short, unique in the run
  SeriesStyle style;
};

// A method against the reference.
struct Contrast {
  Paired paired;
  double margin = 0;      // in the units of the difference
  double adjusted_p = 1;  // Holm over the methods of the measure
  Verdict verdict = Verdict::kInconclusive;
};

// One measured quantity: the accuracy of a task (of one variant of it, where it has several), or
// the nats per token of one protocol and context.
struct Measure {
  std::string task;
  std::string title;                           // "needle", "perplexity (stream, 4,096)"
  std::map<std::string, std::string> cell;     // axes that it fixes; the others are pooled
  bool likelihood = false;                     // nats per token (lower is better), else accuracy
  int64_t length = 0;                          // the longest context in it, tokens; 0 unknown
  std::vector<std::optional<Metric>> metrics;  // [methods]
  std::vector<double> bits_per_byte;           // [methods], NaN unknown; of likelihood
  std::vector<std::optional<Contrast>> contrasts;  // [methods], none for the reference
  std::optional<Metric> closed_book, oracle;       // conditions of the reference

  bool covers(const Item& item) const;
};

struct Digest {
  const Run* run;
  StatisticsOptions options;
  std::vector<MethodView> methods;  // reference, methods, controls
  std::vector<Measure> measures;    // in the order of the request
  int64_t longest = 0;              // tokens

  const MethodView& reference() const { return methods[0]; }
  // The measure that stands for perplexity where there is room for one: the longest stream,
  // by prefill if it was measured so.
  const Measure* headline_likelihood() const;
  // That one and every measure of accuracy.
  std::vector<const Measure*> leading_measures() const;
  // Items of one method in a measure.
  ItemRefs items(const Measure& measure, size_t method,
                 std::string_view condition = "context") const;
};

Digest make_digest(const Run& run, const StatisticsOptions& options);

// The same without any number: methods and measures only.
Digest outline(const Run& run, const StatisticsOptions& options);

// What a method occupies when provisioned for `tokens` tokens (the nearest size on record that is
// not smaller, else the largest); nullptr without any.
const ProvisionedBytes* provisioned(const MethodRecord& method, int64_t tokens);

// A measure split by a property of its items.
struct Breakdown {
  std::vector<std::string> groups;                        // printed, in order
  std::vector<std::vector<std::optional<Metric>>> cells;  // [groups][methods]
};

// `key` gives the group of an item, "" to leave it out. Groups that are numbers are sorted as such.
Breakdown break_down(const Digest& digest, const Measure& measure,
                     const std::function<std::string(const Item&)>& key);

// Numbers as such and ranges by their lower end: 0, (0,.2], (.2,.5], >.5; words after them.
struct NumbersFirst {
  bool operator()(const std::string& a, const std::string& b) const;
};

// Distinct values of an axis of a measure's cells, numbers sorted as such.
std::vector<std::string> axis_values(const Digest& digest, const Measure& measure,
                                     const std::string& axis);

}  // namespace kvg::reports
