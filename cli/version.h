#pragma once

#include <string>

namespace kvg::cli {

// "kvgauge 0.1.0 (commit 0123abc, GNU 12.2.0, Release)"
std::string version_line();

}  // namespace kvg::cli
