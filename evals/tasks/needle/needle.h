#pragma once

#include "evals/task.h"

#include <memory>
#include <span>

namespace kvg {

// Facts hidden in diverse text and asked for after it; evals/tasks/needle/README.md has the
// details.
std::span<const SettingSpec> needle_settings();
std::unique_ptr<Task> make_needle(const Settings& settings, const TaskEnvironment& environment);

}  // namespace kvg
