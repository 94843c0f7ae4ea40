#pragma once

#include "reports/study/effect.h"
#include "reports/table.h"

#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

// The tables of a study. A column of numbers is a quantity under its title.
using TitledQuantities = std::vector<std::pair<std::string, Quantity>>;

Cell arm_cell(const Arm& arm);
// The value, its interval over items, and what differs between seeds.
Cell mean_cell(const Quantity& quantity, const SeededEffect& effect);
// The same with signs, and p.
Cell difference_cell(const Quantity& quantity, const SeededEffect& effect);

// Arms by quantities, means over seeds.
Table arm_table(const Study& study, const TitledQuantities& quantities);
// Every seed in its own row.
Table seed_table(const Study& study, const TitledQuantities& quantities);
// Each arm minus its counterpart (see Study::counterpart).
Table counterpart_table(const Study& study, const TitledQuantities& quantities);
// Size of the cache and cost of training.
Table cost_table(const Study& study);

// Quantities by cells of the 2x2, with the interaction.
Table cell_table(const Study& study, const std::vector<Quantity>& quantities);
// Effects by seed, with intervals over items and over seeds.
Table effect_table(const Quantity& quantity, const std::vector<SeededEffect>& effects);
// Controls minus the arms they name, by quantities.
Table control_difference_table(const Study& study, const std::vector<Quantity>& quantities);

// What the arm's score stands between: the other methods and conditions of its run.
Table floor_table(const Study& study, const Quantity& score);
// The chain from evidence to answer, by arm and length.
Table retention_table(const Study& study, const std::vector<Quantity>& chain);

// Where the first values of a learned quantity were, the last ones, and by how much it moved.
Table movement_table(const Study& study);
// Learned quantities that moved by less than the study's threshold, in words.
std::vector<std::string> unmoved(const Study& study);
// Models, data, devices, executables.
Table study_provenance_table(const Study& study);
// How to repeat each arm: name and command line.
std::vector<std::pair<std::string, std::string>> study_commands(const Study& study);

// The same quantity by the values of an axis ("length", "depth") or stratum ("overlap_bin").
TitledQuantities by_axis(const Study& study, const Quantity& quantity, const std::string& axis);
TitledQuantities by_stratum(const Study& study, const Quantity& quantity,
                            const std::string& stratum);
// Nats per token by tokens before the scored one.
TitledQuantities by_position(const Study& study, const Measure& measure);

}  // namespace kvg::reports
