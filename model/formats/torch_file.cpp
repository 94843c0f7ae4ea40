#include "model/formats/torch_file.h"

#include "base/error.h"
#include "model/formats/torch_pickle.h"
#include "model/formats/zip_archive.h"

#include <optional>

#include <fmt/format.h>

namespace kvg {

namespace {

constexpr std::string_view kPickle = "/data.pkl";

using Entries = std::map<std::string, ZipEntry>;

// The folder that everything in the archive lies in: the name it was saved under.
std::string find_prefix(const Entries& entries, const std::string& where) {
  for (const auto& [name, entry] : entries) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos && std::string_view(name).substr(slash) == kPickle) {
      return name.substr(0, slash);
    }
  }
  throw Error(where, "data.pkl", "none", "a file of torch.save");
}

void check_byte_order(std::string_view file, const Entries& entries, const std::string& prefix,
                      const std::string& where) {
  const auto found = entries.find(prefix + "/byteorder");
  if (found == entries.end()) return;  // files before torch 2.1: little, as torch reads them too
  const std::string_view order = file.substr(found->second.begin, found->second.size);
  if (order != "little") throw Error(where, "byteorder", std::string(order), "little");
}

// Elements of a tensor, or nothing when the product overflows.
std::optional<uint64_t> count_elements(const TorchTensor& tensor) {
  int64_t elements = 1;
  for (const int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(elements, extent, &elements)) return std::nullopt;
  }
  return static_cast<uint64_t>(elements);
}

// Rows of a tensor that has elements follow each other without gaps. Strides of extents of 1 mean
// nothing.
bool is_contiguous(const TorchTensor& tensor) {
  if (tensor.strides.size() != tensor.shape.size()) return false;
  int64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];  // a divisor of the number of elements, which did not overflow
  }
  return true;
}

TorchEntry place(const TorchTensor& tensor, const ZipEntry& storage, const std::string& where,
                 const std::string& name) {
  const uint64_t size = dtype_size(tensor.dtype);
  if (storage.size % size != 0 || storage.size / size != tensor.storage_elements) {
    throw Error(
        where, name, fmt::format("a storage of {} bytes", storage.size),
        fmt::format("{} elements of {}", tensor.storage_elements, dtype_name(tensor.dtype)));
  }
  const std::optional<uint64_t> elements = count_elements(tensor);
  if (!elements) throw Error(where, name, "a size that overflows", "a real tensor");
  if (*elements > 0 && !is_contiguous(tensor)) {
    throw Error(where, name, "a strided view", "a contiguous tensor, rows first");
  }
  if (tensor.offset > tensor.storage_elements ||
      *elements > tensor.storage_elements - tensor.offset) {
    throw Error(where, name, fmt::format("{} elements at {}", *elements, tensor.offset),
                fmt::format("a part of the {} of its storage", tensor.storage_elements));
  }
  if (storage.begin % size != 0) {
    throw Error(where, name, fmt::format("its bytes at {}", storage.begin),
                fmt::format("a multiple of {}, as torch.save aligns them", size));
  }
  const uint64_t begin = storage.begin + tensor.offset * size;
  return {tensor.dtype, tensor.shape, begin, begin + *elements * size};
}

}  // namespace

TorchGroups parse_torch_file(std::string_view file, const std::string& where) {
  const Entries entries = parse_zip_directory(file, where);
  const std::string prefix = find_prefix(entries, where);
  check_byte_order(file, entries, prefix, where);
  const ZipEntry& pickle = entries.at(prefix + std::string(kPickle));
  TorchGroups groups;
  for (const auto& [group, tensors] :
       parse_torch_pickle(file.substr(pickle.begin, pickle.size), where + ": data.pkl")) {
    std::map<std::string, TorchEntry>& placed = groups[group];
    for (const auto& [name, tensor] : tensors) {
      const std::string storage = prefix + "/data/" + tensor.storage;
      const auto found = entries.find(storage);
      const std::string full_name = group + ": " + name;
      if (found == entries.end()) {
        throw Error(where, full_name, "no entry " + storage, "its bytes in the archive");
      }
      placed[name] = place(tensor, found->second, where, full_name);
    }
  }
  return groups;
}

TorchFile::TorchFile(const std::filesystem::path& path)
    : file_(path), groups_(parse_torch_file(file_.text(), path.string())) {}

Tensor TorchFile::tensor(const TorchEntry& entry) const {
  Tensor view;
  // Views are read-only by contract; Tensor has no const variant.
  view.data = const_cast<std::byte*>(file_.bytes().data() + entry.begin);
  view.dtype = entry.dtype;
  view.rank = static_cast<int>(entry.shape.size());
  for (size_t i = 0; i < entry.shape.size(); ++i) view.shape[i] = entry.shape[i];
  return view;
}

void TorchFile::release(const TorchEntry& entry) const {
  file_.drop_pages(entry.begin, entry.end - entry.begin);
}

}  // namespace kvg
