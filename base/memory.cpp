#include "base/memory.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <limits>

namespace kvg {

namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max() / 4;

uint64_t read_number(const char* path) {
  std::ifstream file(path);
  uint64_t value = kUnknown;
  return file >> value ? value : kUnknown;  // "max" does not parse
}

uint64_t system_available() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return kUnknown;
}

}  // namespace

uint64_t available_memory() {
  uint64_t available = system_available();
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
  const uint64_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit < kUnknown && used < kUnknown) {
    available = std::min(available, limit > used ? limit - used : 0);
  }
  return available;
}

void require_memory(const std::string& what, uint64_t bytes) {
  require_memory(what, bytes, available_memory());
}

void require_memory(const std::string& what, uint64_t bytes, uint64_t available) {
  if (bytes > available) {
    throw Error(what, "memory", format_bytes(bytes) + " needed",
                "at most " + format_bytes(available) + " (what is free)");
  }
}

std::string format_bytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> units = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text.data();
}

}  // namespace kvg
