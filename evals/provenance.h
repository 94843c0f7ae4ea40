#pragma once

#include <string>

namespace kvg {

// The machine that a run was made on.
struct Machine {
  std::string cpu;
  int cores = 0;  // that this process may use
  std::string os;
};

Machine this_machine();

// First 16 hexadecimal digits of the SHA-256 of the running executable.
std::string build_id();

// Now, "2026-01-31T12:00:00Z".
std::string utc_time();

}  // namespace kvg
