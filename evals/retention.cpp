#include "evals/retention.h"

#include "base/error.h"
#include "evals/tokens.h"

#include <algorithm>
#include <cctype>

namespace kvg {

namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word(text[begin - 1])) && (end == text.size() || !is_word(text[end]));
}

}  // namespace

SettingSpec probe_setting() {
  return {"probe", std::string("off"), "on: record where answers are lost", 0, 0, {"off", "on"}};
}

SettingSpec read_weight_setting() {
  return {"read_weight", 0.1, "probe: attention from which a value counts as read", 0, 1, {}};
}

ProbeSettings probe_settings(const Settings& settings, std::string_view task,
                             const TaskEnvironment& environment) {
  const bool on = settings.word("probe") == "on";
  if (on && !environment.can_watch) {
    throw Error(settings.where("probe"), std::string(task) + ".probe", "on",
                "off: attention is watched on the host only (--ops cpu or reference)");
  }
  return {on, settings.number("read_weight")};
}

std::vector<TokenSpan> value_places(const Tokenizer& tokenizer, std::span<const int32_t> prompt,
                                    TokenSpan evidence, const std::string& answer) {
  const std::span<const int32_t> tokens = prompt.subspan(
      static_cast<size_t>(evidence.first), static_cast<size_t>(evidence.second - evidence.first));
  const std::string text = tokenizer.decode(tokens);
  const std::vector<int64_t> ends = byte_ends(tokenizer, tokens, text);
  std::vector<TokenSpan> places;
  for (size_t at = text.find(answer); !ends.empty() && at != std::string::npos;
       at = text.find(answer, at + 1)) {
    if (!stands_alone(text, at, at + answer.size())) continue;
    const auto begin = static_cast<int64_t>(at);
    const auto [first, last] = token_span(ends, begin, begin + std::ssize(answer));
    const TokenSpan place = {evidence.first + first, evidence.first + last};
    if (places.empty() || place.first >= places.back().second) places.push_back(place);
  }
  return places.empty() ? std::vector{evidence} : places;
}

RetentionProbe::RetentionProbe(std::vector<TokenSpan> places, int64_t prompt,
                               const ProbeSettings& settings)
    : places_(std::move(places)), settings_(settings) {
  KVG_CHECK(!places_.empty() && prompt > 0, "a probe needs a value and a prompt");
  watch_.from = prompt - 1;  // the query that gives the first token of the answer
  for (const auto& [begin, end] : places_) {
    for (int64_t p = begin; p < end; ++p) watch_.positions.push_back(p);
  }
}

// Of the place of which most is held, by layer.
std::vector<double> RetentionProbe::stored_share(const AttentionWatch::Query& query) const {
  std::vector<double> shares;
  for (const AttentionWatch::Layer& layer : query.layers) {
    double best = 0;
    auto held = layer.held.begin();
    for (const auto& [begin, end] : places_) {
      const auto next = held + (end - begin);
      const auto count = static_cast<double>(std::count(held, next, true));
      best = std::max(best, count / static_cast<double>(end - begin));
      held = next;
    }
    shares.push_back(best);
  }
  return shares;
}

RetentionResult RetentionProbe::result(int64_t answer_tokens) const {
  KVG_CHECK(answer_tokens > 0 && std::ssize(watch_.queries) >= answer_tokens,
            "a query for every token of the answer");
  RetentionResult result;
  result.value_tokens = places_.front().second - places_.front().first;
  result.stored_share = stored_share(watch_.queries.front());
  result.stored = std::ranges::count(result.stored_share, 1.0) > 0;
  for (int64_t i = 0; i < answer_tokens; ++i) {
    const auto& layers = watch_.queries[static_cast<size_t>(i)].layers;
    result.read_weight +=
        std::ranges::max_element(layers, {}, &AttentionWatch::Layer::weight)->weight /
        static_cast<double>(answer_tokens);
  }
  result.read = result.read_weight >= settings_.read_weight;
  return result;
}

std::vector<double> score_answer(const Sequence& sequence, std::span<const int32_t> answer,
                                 RetentionProbe* probe, Feeder& feeder) {
  const std::unique_ptr<Sequence> copy = sequence.clone();
  if (probe != nullptr) copy->watch(probe->watch());
  return feeder.score(*copy, answer);
}

}  // namespace kvg
