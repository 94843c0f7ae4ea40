#include "bench/latency/schedule.h"

#include <algorithm>

namespace kvg {

bool affordable(const std::vector<PlannedStage>& stages, size_t index, int64_t repeats,
                double remaining, double remaining_first) {
  const double own = stages[index].seconds;
  double all = own, first = own;
  for (size_t i = 0; i < stages.size(); ++i) {
    const PlannedStage& stage = stages[i];
    if (i == index || stage.over || stage.seconds >= own) continue;
    all += stage.seconds * static_cast<double>(std::max<int64_t>(0, repeats - stage.done));
    if (stage.done == 0) first += stage.seconds;
  }
  return all <= remaining || (stages[index].done == 0 && first <= remaining_first);
}

}  // namespace kvg
