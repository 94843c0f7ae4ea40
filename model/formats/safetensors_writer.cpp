#include "base/error.h"
#include "model/formats/safetensors.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>
#include <unistd.h>

namespace kvg {

namespace {

std::string header_text(const std::vector<std::pair<std::string, Tensor>>& tensors,
                        const std::map<std::string, std::string>& metadata,
                        const std::string& where) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  if (!metadata.empty()) root["__metadata__"] = metadata;
  uint64_t offset = 0;
  std::set<std::string> names = {"__metadata__"};
  for (const auto& [name, tensor] : tensors) {
    if (!names.insert(name).second) throw Error(where, name, "the name twice", "once");
    KVG_CHECK(tensor.device == Device::cpu, "only host tensors are written");
    std::vector<int64_t> shape;
    for (int i = 0; i < tensor.rank; ++i) shape.push_back(tensor.size(i));
    root[name] = {{"dtype", safetensors_dtype_name(tensor.dtype)},
                  {"shape", shape},
                  {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = root.dump();
  // Spaces at the end start the data on a cache line.
  constexpr size_t kAlignment = 64;
  text.append((kAlignment - (text.size() + sizeof(uint64_t)) % kAlignment) % kAlignment, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string text = header_text(tensors, metadata, path.string());
  std::string prefix(sizeof(uint64_t), '\0');
  for (size_t i = 0; i < prefix.size(); ++i) {
    prefix[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  }
  const std::filesystem::path temporary = path.string() + ".partial." + std::to_string(::getpid());
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out << prefix << text;
  for (const auto& [name, tensor] : tensors) {
    out.write(static_cast<const char*>(tensor.data), static_cast<std::streamsize>(tensor.bytes()));
  }
  out.close();
  const int reason = errno;
  std::error_code failure;
  if (out) std::filesystem::rename(temporary, path, failure);
  if (!out || failure) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw Error(path.string(), "", failure ? failure.message() : std::strerror(reason),
                "a file that can be written");
  }
}

}  // namespace kvg
