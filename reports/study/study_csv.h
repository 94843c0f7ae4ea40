#pragma once

#include "reports/study/study.h"

#include <string>

namespace kvg::reports {

// arm, seed, role, model, model_sha256, base_sha256, data_sha256, method, bytes, tokens, steps,
// seconds, tokens_per_second, peak_bytes, parameters_trained, device, run_id, build, git_commit
std::string arms_csv(const Study& study);

// measure, part (all, length=..., position=..., P(...)), unit, arm, seed ("mean": over seeds),
// value, low, high (over items), deviation, seed_low, seed_high (between seeds), items, units,
// left_out
std::string estimates_csv(const Study& study);

// The same columns with the effect in place of the arm, and p, p_holm.
std::string effects_csv(const Study& study);

// arm, seed, step, series, value
std::string training_csv(const Study& study);

}  // namespace kvg::reports
