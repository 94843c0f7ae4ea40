#pragma once

#include "reports/study/study.h"

#include <functional>
#include <string>
#include <vector>

namespace kvg::reports {

// What an item adds to sum(value) / sum(weight).
struct Piece {
  double value, weight;
};

// A property of items and which of its values count. Rows of failed items may lack the property;
// the same item of another arm then tells it.
struct Filter {
  std::function<std::string(const Item&)> property;
  std::function<bool(const std::string&)> accepts;
};

// One number that items give and that is compared between arms.
struct Quantity {
  const Measure* measure;
  std::string title;
  std::string unit;  // "nats per token", "points"
  bool higher_is_better = false;
  bool share = false;        // in [0, 1], printed in percent
  bool by_context = false;   // contexts are the exchangeable units; otherwise every piece is one
  bool evidence = true;      // whether its items stand somewhere in the context
  bool conditional = false;  // which items count differs from arm to arm
  std::vector<Filter> filters;
  std::function<std::vector<Piece>(const Item&)> pieces;  // none: the item says nothing

  double scale() const { return share ? 100 : 1; }
  int decimals() const { return share ? 1 : 4; }
  // The same over fewer items.
  Quantity where(Filter filter) const;
};

// Nats per token of one protocol.
Quantity nats_quantity(const Measure& measure);
// The same of one bucket of positions [from, to).
Quantity position_quantity(const Measure& measure, std::pair<int64_t, int64_t> range);
// Right answers to questions that have one, or to those that have none.
Quantity score_quantity(const Measure& measure);
Quantity abstention_quantity(const Measure& measure);
// Nats per token of the gold answer.
Quantity gold_quantity(const Measure& measure);
// The chain from the evidence to the answer: P(stored), P(read | stored), P(right | read) of
// evidence that was stored and read, P(right | not stored).
std::vector<Quantity> retention_quantities(const Measure& measure);

// Those of the study that any arm has items of: likelihoods, scores and abstentions, gold answers.
std::vector<Quantity> likelihoods(const Study& study);
std::vector<Quantity> scores(const Study& study);
std::vector<Quantity> gold_answers(const Study& study);
// Of every measure with probed items, four each.
std::vector<std::vector<Quantity>> retentions(const Study& study);

std::string stratum_of(const Item& item, const std::string& name);
std::string axis_of(const Item& item, const std::string& name);

}  // namespace kvg::reports
