#pragma once

#include <algorithm>
#include <cstdint>

namespace kvg {

// When a window of `window` slots gives up its oldest tokens `block` at a time: at every position
// that is a multiple of `block`, just enough leave that the next `block` tokens fit. A pure
// function of the position, so the state does not depend on how the tokens were cut into calls.
// block = 1 is the usual window.
struct EvictionGrid {
  int64_t window = 0;
  int64_t block = 1;  // 1 <= block <= window

  // First position that the query at `position` still finds in the window; everything before has
  // been evicted.
  int64_t begin(int64_t position) const {
    return std::max<int64_t>(0, position / block * block - (window - block));
  }
  // End of the run of positions, starting at `position`, that share one begin().
  int64_t segment_end(int64_t position) const { return (position / block + 1) * block; }
};

}  // namespace kvg
