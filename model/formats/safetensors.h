#pragma once

#include "kernels/tensor.h"
#include "model/formats/mapped_file.h"
#include "model/formats/safetensors_header.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvg {

// One safetensors file, memory-mapped. Tensors are views into the mapping, never copied, except
// those that the file holds at an address their dtype cannot be read at.
class SafetensorsFile {
 public:
  // Throws Error as parse_safetensors_header() does.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return header_.tensors.contains(name); }
  // Read-only view, valid as long as this object. Throws Error (file, tensor) when it is absent.
  Tensor tensor(const std::string& name) const;
  // The caller is done with a tensor: its pages go back to the system until it is asked for again.
  void release(const std::string& name) const;

 private:
  MappedFile file_;
  SafetensorsHeader header_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::unique_ptr<std::byte[]>>
      aligned_;  // copies of misaligned ones
};

// The tensors of a folder: model.safetensors, or the files that model.safetensors.index.json lists.
class SafetensorsSet {
 public:
  // Throws Error when neither is there, when the index and the files disagree, or as
  // SafetensorsFile.
  explicit SafetensorsSet(const std::filesystem::path& folder);

  bool has(const std::string& name) const { return holder_.contains(name); }
  std::vector<std::string> names() const;
  Tensor tensor(const std::string& name) const;
  void release(const std::string& name) const;
  // The file that holds a tensor, or the folder when none does.
  std::filesystem::path file_of(const std::string& name) const;
  std::vector<std::filesystem::path> files() const;

 private:
  void read_index(const std::filesystem::path& index);

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*> holder_;  // by tensor
};

// Writes host tensors in the given order; the data starts at a multiple of 64 bytes of the file.
// Atomic: a temporary file beside `path` is renamed. Throws Error (file, reason).
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace kvg
