#include "base/build_info.h"

#include "base/git_commit.h"

namespace kvg {

const BuildInfo& build_info() {
  static const BuildInfo info = {KVG_VERSION, KVG_GIT_COMMIT, KVG_GIT_DIRTY != 0, KVG_COMPILER,
                                 KVG_BUILD_FLAGS};
  return info;
}

}  // namespace kvg
