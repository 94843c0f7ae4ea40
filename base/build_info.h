#pragma once

#include <string>

namespace kvg {

// What this program was built from, for run records.
struct BuildInfo {
  std::string version;   // "0.1.0"
  std::string commit;    // 40 hexadecimal digits, or "unknown" outside a git checkout
  bool dirty = false;    // files differed from the commit when it was built
  std::string compiler;  // "GNU 12.2.0"
  std::string flags;     // build type and language flags
};

const BuildInfo& build_info();

}  // namespace kvg
