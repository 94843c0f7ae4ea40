#pragma once

#include "evals/settings.h"
#include "evals/task.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvg {

// Where an answer is lost: was the gold value still held when the answer began, and did the model
// look at it while it was due? For tasks whose items have gold evidence; knows no method.

// The settings of a task that can probe, and what they mean.
SettingSpec probe_setting();
SettingSpec read_weight_setting();

struct ProbeSettings {
  bool on = false;
  double read_weight = 0;  // from here on a value counts as read
};
// Throws Error when the set of operations cannot be watched.
ProbeSettings probe_settings(const Settings& settings, std::string_view task,
                             const TaskEnvironment& environment);

using TokenSpan = std::pair<int64_t, int64_t>;  // [begin, end)

// Where in `evidence` (a span of the prompt) the answer's text stands as words of its own, as spans
// of the prompt; the whole evidence when it does not.
std::vector<TokenSpan> value_places(const Tokenizer& tokenizer, std::span<const int32_t> prompt,
                                    TokenSpan evidence, const std::string& answer);

// Of one item. Watch the sequence (or clones of it) with watch() while the end of the prompt and
// the gold answer are taken in, then ask.
class RetentionProbe {
 public:
  // `prompt`: tokens before the answer.
  RetentionProbe(std::vector<TokenSpan> places, int64_t prompt, const ProbeSettings& settings);

  AttentionWatch* watch() { return &watch_; }
  RetentionResult result(int64_t answer_tokens) const;

 private:
  std::vector<double> stored_share(const AttentionWatch::Query& query) const;

  std::vector<TokenSpan> places_;
  ProbeSettings settings_;
  AttentionWatch watch_;
};

// NLL of each token of the answer, on a copy of the sequence, which stays where it is; watched by
// `probe` unless that is null.
std::vector<double> score_answer(const Sequence& sequence, std::span<const int32_t> answer,
                                 RetentionProbe* probe, Feeder& feeder);

}  // namespace kvg
