#pragma once

#include "evals/task.h"

#include <memory>
#include <span>

namespace kvg {

// Likelihood of running text; evals/tasks/perplexity/README.md describes the protocols.
std::span<const SettingSpec> perplexity_settings();
std::unique_ptr<Task> make_perplexity(const Settings& settings, const TaskEnvironment& environment);

// One pass over a part of the text: tokens [begin, end) after a BOS, of which [scored, end) count.
struct TextPass {
  int64_t begin = 0;
  int64_t scored = 0;
  int64_t end = 0;
};

// How a text of `tokens` tokens is cut, for a protocol "stream", "window(N)" or "stride(N,s)".
// Every token is scored exactly once. `context` is the length of a stream, BOS included. Throws
// Error(where).
std::vector<TextPass> text_passes(const std::string& protocol, int64_t context, int64_t tokens,
                                  const std::string& where);

}  // namespace kvg
