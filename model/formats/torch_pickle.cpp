#include "model/formats/torch_pickle.h"

#include "base/error.h"
#include "model/formats/pickle_machine.h"

#include <fmt/format.h>

namespace kvg {

namespace {

// More than a file holds that does not mention the same tensors again and again.
constexpr size_t kMaxTensors = 100'000;

TorchTensors tensors_of(const PickleValue& group, const std::string& name, const std::string& where,
                        size_t* total) {
  if (group.kind != PickleKind::dict) {
    throw Error(where, name, std::string(pickle_kind_name(group.kind)), "a dictionary of tensors");
  }
  *total += group.items.size() / 2;
  if (*total > kMaxTensors) {
    throw Error(where, name, fmt::format("{} tensors so far", *total),
                fmt::format("at most {} in all", kMaxTensors));
  }
  TorchTensors tensors;
  for (size_t i = 0; i < group.items.size(); i += 2) {
    const std::string key(group.items[i]->text);
    const PickleValue& value = *group.items[i + 1];
    if (value.kind != PickleKind::tensor) {
      throw Error(where, name + ": " + key, std::string(pickle_kind_name(value.kind)), "a tensor");
    }
    if (!tensors.emplace(key, value.tensor).second) {
      throw Error(where, name + ": " + key, "the name twice", "once");
    }
  }
  return tensors;
}

}  // namespace

std::map<std::string, TorchTensors> parse_torch_pickle(std::string_view pickle,
                                                       const std::string& where) {
  const PickleValues values = read_pickle(pickle, where);
  const PickleValue& root = *values.root;
  std::map<std::string, TorchTensors> groups;
  size_t total = 0;
  if (root.kind == PickleKind::list) {
    for (size_t i = 0; i < root.items.size(); ++i) {
      const std::string name = std::to_string(i);
      groups[name] = tensors_of(*root.items[i], name, where, &total);
    }
    return groups;
  }
  if (root.kind != PickleKind::dict) {
    throw Error(where, "", std::string(pickle_kind_name(root.kind)),
                "a dictionary or a list of dictionaries of tensors");
  }
  for (size_t i = 0; i < root.items.size(); i += 2) {
    const std::string name(root.items[i]->text);
    if (groups.contains(name)) throw Error(where, name, "the name twice", "once");
    groups[name] = tensors_of(*root.items[i + 1], name, where, &total);
  }
  return groups;
}

}  // namespace kvg
