#include "model/formats/zip_archive.h"

#include "base/error.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace kvg {

namespace {

constexpr uint32_t kLocalHeader = 0x04034b50;
constexpr uint32_t kCentralHeader = 0x02014b50;
constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50;
constexpr uint32_t kEnd64Locator = 0x07064b50;
constexpr uint64_t kLocalSize = 30;
constexpr uint64_t kCentralSize = 46;
constexpr uint64_t kEndSize = 22;
constexpr uint64_t kEnd64Size = 56;
constexpr uint64_t kLocatorSize = 20;
constexpr uint64_t kLongestComment = 0xffff;
constexpr uint16_t kZip64Extra = 1;
constexpr uint16_t kEncrypted = 1;  // bit of an entry's flags
constexpr uint32_t kSeeZip64 = 0xffffffff;
constexpr uint16_t kSeeZip64Short = 0xffff;

// Little-endian numbers and parts of the file, never outside it.
class Bytes {
 public:
  Bytes(std::string_view file, const std::string& where) : file_(file), where_(where) {}

  uint64_t size() const { return file_.size(); }

  std::string_view part(uint64_t begin, uint64_t size, const char* what) const {
    if (begin > file_.size() || size > file_.size() - begin) {
      throw Error(where_, what, fmt::format("{} bytes at {}", size, begin),
                  fmt::format("a part of the {} bytes of the file", file_.size()));
    }
    return file_.substr(begin, size);
  }

  template <typename T>
  T number(uint64_t at, const char* what) const {
    uint64_t value = 0;
    const std::string_view bytes = part(at, sizeof(T), what);
    for (size_t i = 0; i < sizeof(T); ++i) {
      value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    }
    return static_cast<T>(value);
  }

  void expect(uint64_t at, uint32_t signature, const char* what) const {
    const auto found = number<uint32_t>(at, what);
    if (found == signature) return;
    throw Error(where_, what, fmt::format("{:08x} at byte {}", found, at),
                fmt::format("its signature {:08x}", signature));
  }

 private:
  std::string_view file_;
  const std::string& where_;
};

// Where the central directory is.
struct Directory {
  uint64_t begin = 0;
  uint64_t size = 0;
  uint64_t entries = 0;
};

class Reader {
 public:
  Reader(std::string_view file, const std::string& where) : bytes_(file, where), where_(where) {}

  std::map<std::string, ZipEntry> read() {
    const Directory directory = find_directory();
    bytes_.part(directory.begin, directory.size, "central directory");
    // No more entries than their fixed parts leave room for.
    if (directory.entries > directory.size / kCentralSize) {
      throw Error(where_, "central directory",
                  fmt::format("{} entries in {} bytes", directory.entries, directory.size),
                  fmt::format("at least {} bytes an entry", kCentralSize));
    }
    uint64_t at = directory.begin;
    for (uint64_t i = 0; i < directory.entries; ++i) at = read_entry(at, directory);
    if (at != directory.begin + directory.size) {
      throw Error(where_, "central directory",
                  fmt::format("{} bytes in its entries", at - directory.begin),
                  fmt::format("{} bytes", directory.size));
    }
    return std::move(entries_);
  }

 private:
  // The last record of the file; only a comment may follow it, and its length must fit.
  uint64_t find_end() const {
    if (bytes_.size() >= kEndSize) {
      const uint64_t last = bytes_.size() - kEndSize;
      for (uint64_t comment = 0; comment <= std::min(last, kLongestComment); ++comment) {
        const uint64_t at = last - comment;
        if (bytes_.number<uint32_t>(at, "end") == kEnd &&
            bytes_.number<uint16_t>(at + 20, "end") == comment) {
          return at;
        }
      }
    }
    throw Error(where_, "", "no end of a ZIP archive (not one, or cut short)", "a ZIP archive");
  }

  Directory find_directory() const {
    const uint64_t end = find_end();
    Directory directory{bytes_.number<uint32_t>(end + 16, "end"),
                        bytes_.number<uint32_t>(end + 12, "end"),
                        bytes_.number<uint16_t>(end + 10, "end")};
    const bool in_parts = bytes_.number<uint16_t>(end + 4, "end") != 0 ||
                          bytes_.number<uint16_t>(end + 6, "end") != 0;
    if (in_parts) throw Error(where_, "end", "one of several parts", "an archive in one file");
    uint64_t behind = end;  // what follows the directory
    if (directory.begin == kSeeZip64 || directory.size == kSeeZip64 ||
        directory.entries == kSeeZip64Short) {
      if (end < kLocatorSize) throw Error(where_, "ZIP64 locator", "none", "one before the end");
      bytes_.expect(end - kLocatorSize, kEnd64Locator, "ZIP64 locator");
      const auto at = bytes_.number<uint64_t>(end - kLocatorSize + 8, "ZIP64 locator");
      bytes_.part(at, kEnd64Size, "ZIP64 end");
      bytes_.expect(at, kEnd64, "ZIP64 end");
      directory.entries = bytes_.number<uint64_t>(at + 32, "ZIP64 end");
      directory.size = bytes_.number<uint64_t>(at + 40, "ZIP64 end");
      directory.begin = bytes_.number<uint64_t>(at + 48, "ZIP64 end");
      behind = at;
    }
    if (directory.begin > behind || directory.size > behind - directory.begin) {
      throw Error(where_, "central directory",
                  fmt::format("{} bytes at {}", directory.size, directory.begin),
                  fmt::format("it before byte {}", behind));
    }
    return directory;
  }

  // Returns where the next entry begins.
  uint64_t read_entry(uint64_t at, const Directory& directory) {
    constexpr const char* kWhat = "central directory";
    bytes_.expect(at, kCentralHeader, kWhat);
    const auto name_size = bytes_.number<uint16_t>(at + 28, kWhat);
    const auto extra_size = bytes_.number<uint16_t>(at + 30, kWhat);
    const auto comment_size = bytes_.number<uint16_t>(at + 32, kWhat);
    const std::string name(bytes_.part(at + kCentralSize, name_size, kWhat));
    const auto method = bytes_.number<uint16_t>(at + 10, kWhat);
    if (method != 0) {
      throw Error(where_, name, fmt::format("compression method {}", method),
                  "entries stored as they are");
    }
    if ((bytes_.number<uint16_t>(at + 8, kWhat) & kEncrypted) != 0) {
      throw Error(where_, name, "encrypted", "entries stored as they are");
    }
    uint64_t packed = bytes_.number<uint32_t>(at + 20, kWhat);
    uint64_t size = bytes_.number<uint32_t>(at + 24, kWhat);
    uint64_t local = bytes_.number<uint32_t>(at + 42, kWhat);
    const uint64_t extra = at + kCentralSize + name_size;
    bytes_.part(extra, extra_size, kWhat);
    read_zip64(name, extra, extra + extra_size, {&size, &packed, &local});
    if (packed != size) {
      throw Error(where_, name, fmt::format("{} bytes for {}", packed, size),
                  "entries stored as they are");
    }
    add(name, local, size, directory);
    return extra + extra_size + comment_size;
  }

  // Numbers that do not fit in 32 bits stand in an extra field, in this order.
  void read_zip64(const std::string& name, uint64_t extra, uint64_t end,
                  std::initializer_list<uint64_t*> values) const {
    constexpr const char* kWhat = "extra field";
    if (std::all_of(values.begin(), values.end(), [](auto* v) { return *v != kSeeZip64; })) return;
    while (end - extra >= 4) {
      const auto id = bytes_.number<uint16_t>(extra, kWhat);
      const uint64_t begin = extra + 4;
      const uint64_t stop = begin + bytes_.number<uint16_t>(extra + 2, kWhat);
      if (stop > end) break;
      extra = stop;
      if (id != kZip64Extra) continue;
      uint64_t at = begin;
      for (uint64_t* value : values) {
        if (*value != kSeeZip64) continue;
        if (stop - at < 8) throw Error(where_, name, "a ZIP64 field cut short", "64-bit sizes");
        *value = bytes_.number<uint64_t>(at, kWhat);
        at += 8;
      }
      return;
    }
    throw Error(where_, name, "no ZIP64 field", "64-bit sizes");
  }

  void add(const std::string& name, uint64_t local, uint64_t size, const Directory& directory) {
    constexpr const char* kWhat = "local header";
    bytes_.part(local, kLocalSize, kWhat);
    bytes_.expect(local, kLocalHeader, kWhat);
    const uint64_t begin = local + kLocalSize + bytes_.number<uint16_t>(local + 26, kWhat) +
                           bytes_.number<uint16_t>(local + 28, kWhat);
    if (begin > directory.begin || size > directory.begin - begin) {
      throw Error(where_, name, fmt::format("{} bytes at {}", size, begin),
                  fmt::format("it before byte {}, where the directory begins", directory.begin));
    }
    if (!entries_.try_emplace(name, ZipEntry{begin, size}).second) {
      throw Error(where_, name, "the name twice", "once");
    }
  }

  Bytes bytes_;
  const std::string& where_;
  std::map<std::string, ZipEntry> entries_;
};

}  // namespace

std::map<std::string, ZipEntry> parse_zip_directory(std::string_view file,
                                                    const std::string& where) {
  return Reader(file, where).read();
}

}  // namespace kvg
