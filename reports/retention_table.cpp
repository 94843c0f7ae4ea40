#include "reports/tables.h"
#include "reports/text.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// Share of `condition` among items that `given` accepts, with what it is made of.
Cell share_cell(const ItemRefs& items, const std::function<bool(const Item&)>& given,
                const std::function<bool(const Item&)>& condition) {
  int64_t of = 0, count = 0;
  for (const Item* item : items) {
    if (!given(*item)) continue;
    ++of;
    count += condition(*item) ? 1 : 0;
  }
  if (of == 0) return {"\u2013", "of 0"};
  const Interval interval = proportion_interval(count, of);
  return {percent(static_cast<double>(count) / static_cast<double>(of)),
          fmt::format("{} of {} [{}, {}]", thousands(count), thousands(of),
                      fixed(interval.low * 100, 1), fixed(interval.high * 100, 1))};
}

}  // namespace

Table retention_table(const Digest& digest, const Measure& measure) {
  Table table;
  table.columns = {{"Method", false},
                   {"Stored", true, "whole, in a layer at least"},
                   {"In part", true, "of it, in no layer all"},
                   {"Read", true, "given stored"},
                   {"Right", true, "given stored and read"},
                   {"Right", true, "stored, not read"},
                   {"Right", true, "not stored"}};
  const auto stored = [](const Item& item) { return item.retention->stored; };
  const auto in_part = [](const Item& item) {
    const std::vector<double>& shares = item.retention->stored_share;
    return !item.retention->stored && *std::max_element(shares.begin(), shares.end()) > 0;
  };
  const auto any = [](const Item&) { return true; };
  const auto read = [](const Item& item) { return item.retention->stored && item.retention->read; };
  const auto unread = [](const Item& item) {
    return item.retention->stored && !item.retention->read;
  };
  const auto lost = [](const Item& item) { return !item.retention->stored; };
  const auto right = [](const Item& item) { return item.score_or_zero() > 0; };
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    ItemRefs probed;
    for (const Item* item : digest.items(measure, m)) {
      if (item->retention) probed.push_back(item);
    }
    if (probed.empty()) continue;
    table.rows.push_back({method_cell(digest.methods[m]), share_cell(probed, any, stored),
                          share_cell(probed, any, in_part), share_cell(probed, stored, read),
                          share_cell(probed, read, right), share_cell(probed, unread, right),
                          share_cell(probed, lost, right)});
  }
  return table;
}

}  // namespace kvg::reports
