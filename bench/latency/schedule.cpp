#include "bench/latency/schedule.h"

#include <algorithm>

namespace kvg {

bool affordable(const std::vector<PlannedStage>& stages, size_t index, int64_t repeats,
                double remaining) {
  const double own = stages[index].seconds;
  double reserved = own;
  for (size_t i = 0; i < stages.size(); ++i) {
    const PlannedStage& stage = stages[i];
    if (i == index || stage.over || stage.seconds >= own) continue;
    reserved += stage.seconds * static_cast<double>(std::max<int64_t>(0, repeats - stage.done));
  }
  return reserved <= remaining;
}

}  // namespace kvg
