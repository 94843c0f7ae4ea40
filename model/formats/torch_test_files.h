#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Files as torch.save writes them, byte by byte, for tests that need one that is slightly wrong.
namespace kvg {

inline std::string le(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) {
    text.push_back(static_cast<char>(value & 0xff));
    value >>= 8;
  }
  return text;
}

using ZipContent = std::vector<std::pair<std::string, std::string>>;  // name, bytes

// A ZIP archive of stored entries, each at a multiple of 64 bytes. `zip64`: every number that may
// stand in a 64-bit field does.
inline std::string zip_bytes(const ZipContent& content, bool zip64 = false) {
  constexpr uint64_t kSee = 0xffffffff;
  const std::string checksum = le(0, 4);  // not looked at
  std::string file;
  std::string directory;
  for (const auto& [name, bytes] : content) {
    const uint64_t local = file.size();
    const uint64_t padding = 64 - (local + 34 + name.size()) % 64;
    const std::string sizes = le(bytes.size(), 4) + le(bytes.size(), 4);
    file += "PK\3\4" + le(0, 10) + checksum + sizes + le(name.size(), 2) + le(padding + 4, 2) +
            name + "FB" + le(padding, 2) + std::string(padding, 'Z') + bytes;
    const std::string extra = zip64 ? le(0x7777, 2) + le(3, 2) + "abc" + le(1, 2) + le(24, 2) +
                                          le(bytes.size(), 8) + le(bytes.size(), 8) + le(local, 8)
                                    : "";
    directory += "PK\1\2" + le(0, 12) + checksum + (zip64 ? le(kSee, 4) + le(kSee, 4) : sizes) +
                 le(name.size(), 2) + le(extra.size(), 2) + le(0, 10) +
                 le(zip64 ? kSee : local, 4) + name + extra;
  }
  const uint64_t begin = file.size();
  file += directory;
  if (zip64) {
    const uint64_t end = file.size();
    file += "PK\6\6" + le(44, 8) + le(0, 12) + le(content.size(), 8) + le(content.size(), 8) +
            le(directory.size(), 8) + le(begin, 8) + "PK\6\7" + le(0, 4) + le(end, 8) + le(1, 4);
  }
  return file + "PK\5\6" + le(0, 4) + le(zip64 ? 0xffff : content.size(), 2) +
         le(zip64 ? 0xffff : content.size(), 2) + le(zip64 ? kSee : directory.size(), 4) +
         le(zip64 ? kSee : begin, 4) + le(0, 2);
}

// Pieces of a pickle.
namespace pickled {

inline std::string text(const std::string& value) { return "X" + le(value.size(), 4) + value; }
inline std::string integer(int64_t value) {
  return "\x8a\x08" + le(static_cast<uint64_t>(value), 8);
}
inline std::string name(const std::string& module, const std::string& function) {
  return "c" + module + "\n" + function + "\n";
}
inline std::string tuple(const std::vector<int64_t>& numbers) {
  std::string items = "(";
  for (const int64_t number : numbers) items += integer(number);
  return items + "t";
}
inline std::string ordered_dict() { return name("collections", "OrderedDict") + ")R"; }
// Keys and values.
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = "}(";
  for (const auto& [key, value] : items) all += text(key) + value;
  return all + "u";
}
inline std::string whole(const std::string& value) { return "\x80\x02" + value + "."; }

struct View {
  std::string type = "FloatStorage";
  std::string storage = "0";
  int64_t storage_elements = 6;
  int64_t offset = 0;
  std::vector<int64_t> shape = {2, 3};
  std::vector<int64_t> strides = {3, 1};
};

inline std::string tensor(const View& view) {
  return name("torch._utils", "_rebuild_tensor_v2") + "((" + text("storage") +
         name("torch", view.type) + text(view.storage) + text("cuda:0") +
         integer(view.storage_elements) + "tQ" + integer(view.offset) + tuple(view.shape) +
         tuple(view.strides) + "\x89" + ordered_dict() + "tR";
}

}  // namespace pickled

// A file of torch.save with that pickle and one storage of six floats.
inline std::string torch_bytes(const std::string& pickle, bool zip64 = false) {
  return zip_bytes({{"archive/data.pkl", pickle},
                    {"archive/byteorder", "little"},
                    {"archive/data/0", std::string(24, '\x3f')},
                    {"archive/version", "3\n"}},
                   zip64);
}

}  // namespace kvg
