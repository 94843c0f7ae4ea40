#pragma once

#include "reports/study/study_tables.h"

#include <string>
#include <vector>

namespace kvg::reports {

// The figures of a study as inline SVG; "" where there is nothing to draw.

// The effects of the 2x2, means over seeds, with the interaction of every seed: a panel each.
std::string effect_figure(const Study& study, const std::vector<Quantity>& quantities);
// Controls minus the arms they name, a panel each.
std::string control_figure(const Study& study, const std::vector<Quantity>& quantities);
// Nats per token by tokens before the scored one: arms, and arms minus their counterparts.
std::string study_position_figure(const Study& study, const Measure& measure);
std::string study_position_difference_figure(const Study& study, const Measure& measure);
// Depth by length, a panel an arm; `id` is unique in the page.
std::string study_depth_figure(const Study& study, const Quantity& quantity, const std::string& id);
// Training curves, means over seeds.
std::string training_figure(const Study& study, const std::string& series, const std::string& title,
                            const std::string& y_label);

}  // namespace kvg::reports
