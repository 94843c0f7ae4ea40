#include "evals/task.h"
#include "evals/tasks/needle/needle.h"
#include "evals/tasks/passkey/passkey.h"
#include "evals/tasks/perplexity/perplexity.h"

#include <vector>

namespace kvg {

// One row a task. A new task adds its own folder and a row here.
std::span<const TaskEntry> task_table() {
  static const std::vector<TaskEntry> table = {
      {"perplexity", 1, "likelihood of running text", &perplexity_settings, &make_perplexity},
      {"passkey", 1, "one number in repeated filler, as published", &passkey_settings,
       &make_passkey},
      {"needle", 1, "facts in diverse text, said in many ways", &needle_settings, &make_needle},
  };
  return table;
}

}  // namespace kvg
