#pragma once

#include "kernels/tensor.h"
#include "model/formats/mapped_file.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// The tensors of a file written by torch.save: a ZIP archive with PREFIX/data.pkl, which describes
// them, and PREFIX/data/N, the bytes. Offsets count from the start of the file.
struct TorchEntry {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // at most four dimensions, zero extents allowed
  uint64_t begin = 0;          // [begin, end) of the file
  uint64_t end = 0;
};

// Tensors by name, for each dictionary (or index of a list) of the file: {"layer_0": {"w": ...}}.
using TorchGroups = std::map<std::string, std::map<std::string, TorchEntry>>;

// Parses and checks a file of which `file` is the content; `where` names it in errors. Refused
// with an Error, beyond what parse_zip_directory() and parse_torch_pickle() refuse: big-endian
// files, tensors outside their storage, ones that are not contiguous and row-major, storages of
// another size than said or at an address that their dtype cannot be read at.
TorchGroups parse_torch_file(std::string_view file, const std::string& where);

// Such a file, memory-mapped: tensors are views into the mapping, never copied.
class TorchFile {
 public:
  explicit TorchFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const TorchGroups& groups() const { return groups_; }
  // Read-only view, valid as long as this object. `entry` is one of groups().
  Tensor tensor(const TorchEntry& entry) const;
  // The caller is done with a tensor: its pages go back to the system until it is asked for again.
  void release(const TorchEntry& entry) const;

 private:
  MappedFile file_;
  TorchGroups groups_;
};

}  // namespace kvg
