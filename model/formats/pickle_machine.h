#pragma once

#include "model/formats/torch_pickle.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// What the machine of torch_pickle.h has on its stack.
enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  text,
  tuple,
  list,
  dict,
  name,
  storage,
  tensor
};

struct PickleValue {
  PickleKind kind = PickleKind::none;
  int64_t integer = 0;                // boolean, integer
  std::string_view text{};            // text; name: "module name"
  std::vector<PickleValue*> items{};  // tuple, list; dict: text key, value, text key, value
  TorchTensor tensor{};               // tensor; storage: what is known of one
};

// "a tuple"
std::string_view pickle_kind_name(PickleKind kind);

// All values that a pickle made, and the one it stands for. A pickle may tie values into a ring.
struct PickleValues {
  std::deque<PickleValue> all;
  const PickleValue* root = nullptr;
};

// Reads a pickle to its end under the rules of parse_torch_pickle(). Texts are views of `pickle`.
PickleValues read_pickle(std::string_view pickle, const std::string& where);

}  // namespace kvg
