#pragma once

#include "kernels/dtype.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// A tensor as torch.save describes it: a view of one of the archive's storages, in elements.
struct TorchTensor {
  DType dtype = DType::f32;
  std::string storage;  // name of its entry under data/
  uint64_t storage_elements = 0;
  uint64_t offset = 0;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
};

using TorchTensors = std::map<std::string, TorchTensor>;

// Reads the pickle (protocol 2) of a dictionary, or a list, of dictionaries of tensors: the
// state_dicts of several modules, by their key or index in decimal. `where` names it in errors.
//
// A pickle is a program. This one is read, never run: the opcodes are those that torch.save emits
// for dictionaries, lists, tuples, strings, integers and tensors, and the only names it may mention
// are collections.OrderedDict, torch's float storages, and _rebuild_tensor_v2 and
// _rebuild_parameter of torch._utils. Everything else is refused by its name. What is described may
// still be absurd: shapes, strides and offsets are not compared with any storage.
std::map<std::string, TorchTensors> parse_torch_pickle(std::string_view pickle,
                                                       const std::string& where);

// Longest pickle that is read; 32 layers of ten tensors take 30 KB.
inline constexpr uint64_t kMaxTorchPickle = 4'000'000;

}  // namespace kvg
