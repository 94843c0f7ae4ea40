#pragma once

#include "reports/digest.h"

#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

// The figures of a report as inline SVG; "" where the run has nothing to draw.

// Axis values as people read them: depths in percent, counts with separators.
std::string printed_axis(const std::string& axis, const std::string& value);
// "256–1k"; "new" for the bucket of first occurrences.
std::string range_label(std::pair<int64_t, int64_t> range);

// Quality against bytes at the measure's longest context.
std::string pareto_figure(const Digest& digest, const Measure& measure, double width);
// Every method's difference to the reference, a panel for each measure.
std::string difference_figure(const Digest& digest, const std::vector<const Measure*>& measures);

// Nats per token by tokens before the scored one, and the difference to the reference.
std::string position_figure(const Digest& digest, const Measure& measure);
std::string position_difference_figure(const Digest& digest, const Measure& measure);
// The same by distance to the last occurrence of the same token.
std::string repeat_figure(const Digest& digest, const Measure& measure);
std::string repeat_difference_figure(const Digest& digest, const Measure& measure);

// Accuracy by an axis of the cells ("length", "depth").
std::string axis_figure(const Digest& digest, const Measure& measure, const std::string& axis,
                        const std::string& title, const std::string& x_label);
// Accuracy by a property of the items ("overlap_bin").
std::string strata_figure(const Digest& digest, const Measure& measure, const std::string& stratum,
                          const std::string& title, const std::string& x_label);
// Depth by length, one panel a method.
std::string depth_figure(const Digest& digest, const Measure& measure);

}  // namespace kvg::reports
