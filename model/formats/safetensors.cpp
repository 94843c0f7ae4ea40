#include "model/formats/safetensors.h"

#include "base/error.h"
#include "base/names.h"

#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

namespace kvg {

namespace {

Tensor make_view(void* data, const SafetensorsEntry& entry) {
  Tensor view;
  view.data = data;
  view.dtype = entry.dtype;
  view.rank = static_cast<int>(entry.shape.size());
  for (size_t i = 0; i < entry.shape.size(); ++i) view.shape[i] = entry.shape[i];
  return view;
}

[[noreturn]] void throw_missing(const std::string& where, const std::string& name,
                                const std::vector<std::string>& names) {
  throw Error(where, "tensor " + name, "no such tensor" + did_you_mean(name, names),
              "it among the " + std::to_string(names.size()) + " tensors");
}

// An index may only name files of its own folder.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(parse_safetensors_header(file_.text(), path.string())) {}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : header_.tensors) names.push_back(name);
  return names;
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) throw_missing(path().string(), name, names());
  const SafetensorsEntry& entry = found->second;
  const std::byte* data = file_.bytes().data() + header_.data_begin + entry.begin;
  // Views are read-only by contract; Tensor has no const variant.
  auto* writable = const_cast<std::byte*>(data);
  if (reinterpret_cast<uintptr_t>(data) % dtype_size(entry.dtype) == 0) {
    return make_view(writable, entry);
  }
  const std::lock_guard lock(mutex_);
  std::unique_ptr<std::byte[]>& copy = aligned_[name];
  if (copy == nullptr) {
    copy = std::make_unique<std::byte[]>(entry.end - entry.begin + 1);  // never an empty allocation
    std::memcpy(copy.get(), data, entry.end - entry.begin);
  }
  return make_view(copy.get(), entry);
}

void SafetensorsFile::release(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) return;
  const SafetensorsEntry& entry = found->second;
  file_.drop_pages(header_.data_begin + entry.begin, entry.end - entry.begin);
  const std::lock_guard lock(mutex_);
  aligned_.erase(name);
}

SafetensorsSet::SafetensorsSet(const std::filesystem::path& folder) : folder_(folder) {
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  const std::filesystem::path single = folder / "model.safetensors";
  if (std::filesystem::exists(single)) {
    files_.push_back(std::make_unique<SafetensorsFile>(single));
    for (const std::string& name : files_[0]->names()) holder_[name] = files_[0].get();
  } else if (std::filesystem::exists(index)) {
    read_index(index);
  } else {
    throw Error(folder.string(), "weights", "no safetensors file",
                "model.safetensors or model.safetensors.index.json");
  }
}

void SafetensorsSet::read_index(const std::filesystem::path& index) {
  const MappedFile file(index);
  const std::string where = index.string();
  const nlohmann::json root =
      nlohmann::json::parse(file.text().begin(), file.text().end(), nullptr, false);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    throw Error(where, "weight_map", root.is_discarded() ? "invalid JSON" : "none",
                "an object from tensor names to file names");
  }
  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [name, value] : root["weight_map"].items()) {
    const std::string file_name = value.is_string() ? value.get<std::string>() : "";
    if (!is_plain_file_name(file_name)) {
      throw Error(where, name, value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                  "the name of a file in the same folder");
    }
    const SafetensorsFile*& holder = opened[file_name];
    if (holder == nullptr) {
      files_.push_back(std::make_unique<SafetensorsFile>(folder_ / file_name));
      holder = files_.back().get();
    }
    if (!holder->has(name)) throw_missing(holder->path().string(), name, holder->names());
    holder_[name] = holder;
  }
}

std::vector<std::string> SafetensorsSet::names() const {
  std::vector<std::string> names;
  for (const auto& [name, holder] : holder_) names.push_back(name);
  return names;
}

Tensor SafetensorsSet::tensor(const std::string& name) const {
  const auto found = holder_.find(name);
  if (found == holder_.end()) throw_missing(file_of(name).string(), name, names());
  return found->second->tensor(name);
}

void SafetensorsSet::release(const std::string& name) const {
  const auto found = holder_.find(name);
  if (found != holder_.end()) found->second->release(name);
}

std::filesystem::path SafetensorsSet::file_of(const std::string& name) const {
  const auto found = holder_.find(name);
  if (found != holder_.end()) return found->second->path();
  return files_.size() == 1 ? files_[0]->path() : folder_;
}

std::vector<std::filesystem::path> SafetensorsSet::files() const {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

}  // namespace kvg
