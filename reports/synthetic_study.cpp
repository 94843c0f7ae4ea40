#include "reports/synthetic_study.h"

#include "base/sha256.h"

#include <cmath>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace kvg::reports {

namespace {

using nlohmann::json;

constexpr const char* kBounded = "landmark(window=128,exact=64,summary=64)";

struct Cell {
  std::string name;
  bool differential, bounded;
  double nats;
  bool control = false;
};

json training_log(const Cell& cell, int64_t seed) {
  json curve = json::array();
  for (int step = 10; step <= 320; step += 10) {
    const double part = step / 320.0;
    json point = {{"step", step},
                  {"tokens", step * 131072},
                  {"loss", 2.2 + 0.8 * std::exp(-6 * part) + cell.nats * 0.3}};
    if (cell.bounded) {
      // The first seed of one arm has learned nothing, so that the page can say so.
      const double moved = cell.differential && seed == 0 ? 0.0002 : 0.05;
      point["gate_mean"] = 0.119 + moved * part;
      point["gate_moved"] = moved * part;
    }
    if (cell.differential) {
      point["lambda_mean"] = cell.control ? 0.0 : 0.03 * part;
      point["lambda_moved"] = cell.control ? 0.0 : 0.03 * part;
    }
    curve.push_back(std::move(point));
  }
  return {
      {"schema_version", 1},
      {"arm", cell.name},
      {"seed", seed},
      {"model", "kvg-tiny"},
      {"base", {{"name", "kvg-tiny"}, {"sha256", sha256("base")}}},
      {"attention", cell.differential ? "coda" : "gqa"},
      {"retention", cell.bounded ? kBounded : "full"},
      {"data", {{"sha256", sha256("data")}, {"tokens", 41943040}, {"row", 8192}}},
      {"steps", 320},
      {"tokens", 41943040},
      {"seconds", cell.bounded ? 181.5 : 61.2},
      {"tokens_per_second", cell.bounded ? 231000 : 685000},
      {"peak_bytes", 9123456789},
      {"device", "Example GPU"},
      {"torch", "2.11.0"},
      {"parameters_trained", 1234567},
      {"learning_rates", {{"matrices", 0.001}, {"scalars", 0.01}}},
      {"command", {"python3", "train_arm.py", "--arm", cell.name, "--seed", std::to_string(seed)}},
      {"curve", curve}};
}

void write_arm_run(const std::filesystem::path& directory, const SyntheticStudy& study,
                   const Cell& cell, int64_t seed, size_t index) {
  SyntheticOptions options = study.run;
  options.methods = {"full", kBounded, "random(window=128,slots=128)"};
  options.outcome_seed = 100 * static_cast<uint64_t>(seed) + index + 1;
  options.model = fmt::format("{}-{}", cell.name, seed);
  const size_t row = cell.differential && !cell.control ? 1 : 0;
  options.chain = SyntheticOptions::Chain{study.stored[row], study.read[row]};
  const double luck = index == 3 ? study.seed_nats * static_cast<double>(seed - 1) : 0;
  const double nats = cell.nats + luck;
  options.extra_nats = [nats](size_t method, int64_t position) {
    return method == 2 ? 0.9 : nats * (position < 256 ? 0.2 : 1.0);
  };
  write_synthetic_run(directory, options);
}

}  // namespace

void write_synthetic_study(const std::filesystem::path& folder, const SyntheticStudy& study) {
  const std::vector<Cell> cells = {{"gqa", false, false, study.nats[0][0]},
                                   {"gqa-bounded", false, true, study.nats[0][1]},
                                   {"coda", true, false, study.nats[1][0]},
                                   {"coda-bounded", true, true, study.nats[1][1]},
                                   {"coda-bounded-lambda0", true, true, study.control_nats, true}};
  std::filesystem::create_directories(folder / "training");
  std::string arms;
  for (size_t c = 0; c < cells.size(); ++c) {
    const Cell& cell = cells[c];
    for (const int64_t seed : study.seeds) {
      if (cell.control && seed != study.seeds.front()) continue;
      const std::string name = fmt::format("{}-s{}", cell.name, seed);
      write_arm_run(folder / "runs" / name, study, cell, seed, c);
      std::ofstream(folder / "training" / (name + ".json"), std::ios::binary)
          << training_log(cell, seed).dump() << '\n';
      arms += fmt::format(
          "  - {{name: {}, seed: {}, run: runs/{}, method: {}, training: training/{}.json, {}}}\n",
          cell.name, seed, name, cell.bounded ? "landmark" : "full", name,
          cell.control
              ? std::string("role: control, compare: coda-bounded")
              : fmt::format("role: factorial, factors: {{differential: {}, bounded: {}}}",
                            cell.differential ? "on" : "off", cell.bounded ? "on" : "off"));
    }
  }
  std::ofstream(folder / "study.yaml", std::ios::binary)
      << "title: A study with invented numbers\n"
         "intro: |\n"
         "  Every number here is **invented**; effects were planted & must be found again.\n\n"
         "  - `full` and `landmark` are names of caches, 1 < 2.\n"
         "  - The rest is said below.\n"
         "rules: |\n"
         "  The differential is credited only if its interaction excludes 0 over items and over\n"
         "  seeds, and the control does not reproduce it.\n"
         "arms:\n"
      << arms;
}

}  // namespace kvg::reports
