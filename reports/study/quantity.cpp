#include "reports/study/quantity.h"

#include <algorithm>

namespace kvg::reports {

namespace {

Filter answerable() {
  return {[](const Item& item) { return stratum_of(item, "kind"); },
          [](const std::string& kind) { return kind != "unanswerable"; }};
}

bool any_item(const Study& study, const Measure& measure,
              const std::function<bool(const Item&)>& has) {
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      const ItemRefs items = run.items(measure);
      if (std::any_of(items.begin(), items.end(), [&](const Item* i) { return has(*i); })) {
        return true;
      }
    }
  }
  return false;
}

Quantity share_of(const Measure& measure, const std::string& title) {
  Quantity quantity;
  quantity.measure = &measure;
  quantity.title = title;
  quantity.unit = "points";
  quantity.higher_is_better = quantity.share = quantity.by_context = true;
  return quantity;
}

// Among the probed items that `given` accepts, the share for which `is` holds.
Quantity retention_share(const Measure& measure, const std::string& title,
                         const std::function<bool(const Item&)>& given,
                         const std::function<bool(const Item&)>& is) {
  Quantity quantity = share_of(measure, title);
  quantity.conditional = true;
  quantity.pieces = [given, is](const Item& item) -> std::vector<Piece> {
    if (!item.retention || !given(item)) return {};
    return {{is(item) ? 1.0 : 0.0, 1}};
  };
  return quantity;
}

}  // namespace

std::string stratum_of(const Item& item, const std::string& name) {
  const auto it = item.strata.find(name);
  return it == item.strata.end() ? "" : it->second;
}

std::string axis_of(const Item& item, const std::string& name) {
  const auto it = item.cell.find(name);
  return it == item.cell.end() ? "" : it->second;
}

Quantity Quantity::where(Filter filter) const {
  Quantity narrower = *this;
  narrower.filters.push_back(std::move(filter));
  return narrower;
}

Quantity nats_quantity(const Measure& measure) {
  Quantity quantity;
  quantity.measure = &measure;
  quantity.title = measure.title;
  quantity.unit = "nats per token";
  quantity.pieces = [](const Item& item) {
    std::vector<Piece> pieces;
    if (!item.likelihood) return pieces;
    for (const Block& block : item.likelihood->blocks) {
      pieces.push_back({block.nll, static_cast<double>(block.tokens)});
    }
    return pieces;
  };
  return quantity;
}

Quantity position_quantity(const Measure& measure, std::pair<int64_t, int64_t> range) {
  Quantity quantity = nats_quantity(measure);
  quantity.pieces = [range](const Item& item) {
    std::vector<Piece> pieces;
    if (!item.likelihood) return pieces;
    for (const Bucket& bucket : item.likelihood->positions) {
      if (std::pair(bucket.from, bucket.to) == range && bucket.tokens > 0) {
        pieces.push_back({bucket.nll, static_cast<double>(bucket.tokens)});
      }
    }
    return pieces;
  };
  return quantity;
}

Quantity score_quantity(const Measure& measure) {
  Quantity quantity = share_of(measure, measure.title);
  quantity.filters.push_back(answerable());
  quantity.pieces = [](const Item& item) -> std::vector<Piece> {
    return {{item.score_or_zero(), 1}};
  };
  return quantity;
}

Quantity abstention_quantity(const Measure& measure) {
  Quantity quantity = score_quantity(measure);
  quantity.title = measure.title + ", no answer in the text";
  quantity.evidence = false;
  quantity.filters = {{[](const Item& item) { return stratum_of(item, "kind"); },
                       [](const std::string& kind) { return kind == "unanswerable"; }}};
  return quantity;
}

Quantity gold_quantity(const Measure& measure) {
  Quantity quantity;
  quantity.measure = &measure;
  quantity.title = measure.title + ", gold answer";
  quantity.unit = "nats per token";
  quantity.by_context = true;
  quantity.filters.push_back(answerable());
  quantity.pieces = [](const Item& item) -> std::vector<Piece> {
    if (!item.gold_nll) return {};
    return {{*item.gold_nll, static_cast<double>(item.gold_tokens)}};
  };
  return quantity;
}

std::vector<Quantity> retention_quantities(const Measure& measure) {
  const auto all = [](const Item&) { return true; };
  const auto stored = [](const Item& item) { return item.retention->stored; };
  const auto read = [](const Item& item) { return item.retention->read; };
  const auto both = [](const Item& item) { return item.retention->stored && item.retention->read; };
  const auto lost = [](const Item& item) { return !item.retention->stored; };
  const auto right = [](const Item& item) { return item.score_or_zero() == 1; };
  return {retention_share(measure, "P(stored)", all, stored),
          retention_share(measure, "P(read | stored)", stored, read),
          retention_share(measure, "P(right | read)", both, right),
          retention_share(measure, "P(right | not stored)", lost, right)};
}

std::vector<Quantity> likelihoods(const Study& study) {
  std::vector<Quantity> quantities;
  for (const Measure& measure : study.measures) {
    if (measure.likelihood) quantities.push_back(nats_quantity(measure));
  }
  return quantities;
}

std::vector<Quantity> scores(const Study& study) {
  std::vector<Quantity> quantities;
  for (const Measure& measure : study.measures) {
    if (measure.likelihood) continue;
    quantities.push_back(score_quantity(measure));
    if (any_item(study, measure,
                 [](const Item& item) { return stratum_of(item, "kind") == "unanswerable"; })) {
      quantities.push_back(abstention_quantity(measure));
    }
  }
  return quantities;
}

std::vector<Quantity> gold_answers(const Study& study) {
  std::vector<Quantity> quantities;
  for (const Measure& measure : study.measures) {
    if (!measure.likelihood &&
        any_item(study, measure, [](const Item& item) { return item.gold_nll.has_value(); })) {
      quantities.push_back(gold_quantity(measure));
    }
  }
  return quantities;
}

std::vector<std::vector<Quantity>> retentions(const Study& study) {
  std::vector<std::vector<Quantity>> quantities;
  for (const Measure& measure : study.measures) {
    if (any_item(study, measure, [](const Item& item) { return item.retention.has_value(); })) {
      quantities.push_back(retention_quantities(measure));
    }
  }
  return quantities;
}

}  // namespace kvg::reports
