#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvg {

// What one stage of one cell costs, and how often it was measured.
struct PlannedStage {
  double seconds = 0;  // of the last repeat; before the first one, as predicted
  int64_t done = 0;
  bool over = false;  // too large, or failed: not measured again
};

// Shares a time limit out: cheap stages first, for they give most repeats for their seconds. True
// when stage `index` can be measured within `remaining` seconds after all repeats that cheaper
// stages still lack; or, for the first time, within `remaining_first` seconds after the first
// repeats that cheaper stages still lack.
bool affordable(const std::vector<PlannedStage>& stages, size_t index, int64_t repeats,
                double remaining, double remaining_first);

}  // namespace kvg
