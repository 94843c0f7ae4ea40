#pragma once

#include "evals/task.h"

#include <memory>
#include <span>
#include <string>

namespace kvg {

// The passkey test of Mohtashami & Jaggi, "Landmark Attention" (2023), text and scoring as
// published; evals/tasks/passkey/README.md says how a length in tokens becomes one in characters.
std::span<const SettingSpec> passkey_settings();
std::unique_ptr<Task> make_passkey(const Settings& settings, const TaskEnvironment& environment);

// The published prompt: `before` and `after` are characters of filler, each cut from its beginning.
std::string passkey_prompt(int64_t key, int64_t before, int64_t after);

}  // namespace kvg
