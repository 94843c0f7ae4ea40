#pragma once

#include "reports/synthetic_run.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace kvg::reports {

// A study folder with invented results: four arms of a 2x2 of `differential` and `bounded`, one
// control of the fourth, their training records. Effects are planted; everything follows from the
// seeds.
struct SyntheticStudy {
  std::vector<int64_t> seeds = {0, 1, 2};
  // [differential][bounded]: nats per token that the arm adds to the text's own.
  std::array<std::array<double, 2>, 2> nats = {{{0.10, 0.40}, {0.12, 0.22}}};
  double control_nats = 0.38;  // of the control, in place of nats[1][1]
  double seed_nats = 0.01;     // added times -1, 0, 1, ... to the last cell, by seed
  // Of the bounded arms, by differential; the control has those of the first.
  std::array<double, 2> stored = {0.55, 0.6}, read = {0.5, 0.8};
  SyntheticOptions run;  // sizes of the runs; methods, model and chances are set by the arm
};

void write_synthetic_study(const std::filesystem::path& folder, const SyntheticStudy& options);

}  // namespace kvg::reports
