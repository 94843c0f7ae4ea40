#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

struct TrainingPoint {
  int64_t step = 0;
  std::map<std::string, double> values;  // loss, gate_mean, ...
};

// What the trainer says of one arm under one seed (SCHEMA.md). Everything may be absent.
struct TrainingLog {
  std::string arm, model, base, base_sha256, attention, retention, data_sha256, device, torch;
  std::optional<int64_t> seed, steps, tokens, peak_bytes, parameters_trained;
  std::optional<double> seconds, tokens_per_second;
  std::vector<std::pair<std::string, double>> learning_rates;
  std::vector<std::string> command;
  std::vector<TrainingPoint> curve;  // by step

  // First and last of a series of the curve; none where it has no such values.
  std::optional<std::pair<double, double>> ends(const std::string& series) const;
};

// Throws Error for what is no JSON object of schema version 1, or has a known field of another
// type; fields of other names are left alone.
TrainingLog read_training_log(const std::filesystem::path& path);

}  // namespace kvg::reports
