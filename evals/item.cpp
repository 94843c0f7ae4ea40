#include "evals/item.h"

#include "base/random.h"

#include <fmt/format.h>

namespace kvg {

std::string_view to_string(Condition condition) {
  switch (condition) {
    case Condition::kContext:
      return "context";
    case Condition::kClosedBook:
      return "closed-book";
    case Condition::kOracle:
      return "oracle";
  }
  return "";
}

std::string to_string(const Level& level) {
  return std::visit([](const auto& value) { return fmt::format("{}", value); }, level);
}

std::string cell_name(const Cell& cell) {
  std::string name;
  for (const auto& [axis, level] : cell) {
    if (!name.empty()) name += ',';
    name += axis + "=" + to_string(level);
  }
  return name;
}

std::string item_key(std::string_view method, Condition condition, std::string_view task,
                     const Item& item) {
  return fmt::format("{}|{}|{}|{}|{}", method, to_string(condition), task, cell_name(item.cell),
                     item.index);
}

uint64_t item_seed(uint64_t master, std::string_view task, const Cell& cell, int64_t index) {
  return mix_seed(
      {master, name_seed(task), name_seed(cell_name(cell)), static_cast<uint64_t>(index)});
}

}  // namespace kvg
