#include "cli/version.h"

#include "base/build_info.h"

namespace kvg::cli {

std::string version_line() {
  const BuildInfo& info = build_info();
  return "kvgauge " + info.version + " (commit " + info.commit.substr(0, 10) +
         (info.dirty ? " with changes" : "") + ", " + info.compiler + ", " + info.flags + ")";
}

}  // namespace kvg::cli
