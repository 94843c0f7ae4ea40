#include "evals/tasks/passkey/passkey.h"

#include "base/error.h"
#include "base/random.h"
#include "evals/retention.h"
#include "evals/scoring.h"
#include "evals/tokens.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace kvg {
namespace {

constexpr std::string_view kTask =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I "
    "will quiz you about the important information there.";
constexpr std::string_view kFiller =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
constexpr std::string_view kQuestion = "What is the pass key? The pass key is";
constexpr int64_t kLargestKey = 50000;
constexpr int64_t kNewTokens = 10;

// The first `characters` of the filler repeated with single spaces between.
std::string filler(int64_t characters) {
  std::string text;
  text.reserve(static_cast<size_t>(characters) + kFiller.size() + 1);
  while (std::ssize(text) < characters) {
    if (!text.empty()) text += ' ';
    text += kFiller;
  }
  text.resize(static_cast<size_t>(characters));
  return text;
}

std::string statement(int64_t key) {
  return fmt::format("The pass key is {0}. Remember it. {0} is the pass key.", key);
}

struct Prompt {
  std::string text;
  std::vector<int32_t> tokens;  // BOS included
  double depth = 0;
};

class Passkey : public Task {
 public:
  Passkey(const Settings& settings, const TaskEnvironment& environment)
      : tokenizer_(environment.tokenizer),
        seed_(environment.seed),
        lengths_(settings.counts("lengths")),
        depths_(settings.count("depths")),
        items_(settings.count("items")),
        probe_(probe_settings(settings, "passkey", environment)) {
    const auto shortest = std::ssize(encode(passkey_prompt(kLargestKey, 0, 0))) + kNewTokens;
    for (const int64_t length : lengths_) {
      if (length < shortest) {
        throw Error(settings.where("lengths"), "passkey.lengths", std::to_string(length),
                    fmt::format("at least {}, the prompt without filler", shortest));
      }
      if (environment.context > 0 && length > environment.context &&
          settings.word("beyond") == "off") {
        throw Error(
            settings.where("lengths"), "passkey.lengths", std::to_string(length),
            fmt::format("at most the model's context of {} (or beyond=on)", environment.context));
      }
    }
  }

  std::vector<ItemGroup> plan() const override {
    std::vector<ItemGroup> groups;
    for (const int64_t length : lengths_) {
      for (int64_t index = 0; index < items_; ++index) {
        for (int64_t stratum = 0; stratum < depths_; ++stratum) {
          groups.push_back(make_group(length, stratum, index));
        }
      }
    }
    return groups;
  }

  bool has(Condition) const override { return true; }
  std::vector<int64_t> lengths() const override { return lengths_; }
  std::vector<DataUse> data() const override { return {}; }

  std::vector<ItemRow> run(const ItemGroup& group, Condition condition, const Subject& subject,
                           Feeder& feeder) const override {
    const Item& item = group.items.front();
    Random random(item.seed);
    const auto key = static_cast<int64_t>(1 + random.below(kLargestKey));
    const double depth =
        (static_cast<double>(group.ordinal) + random.uniform()) / static_cast<double>(depths_);
    const Prompt prompt = make_prompt(condition, group.length, key, depth);
    const bool probed = probe_.on && condition == Condition::kContext;
    ItemRow row = ask(prompt, key, probed, subject, feeder);
    row.item = item;
    row.group = group.name;
    row.answer->strata["depth"] = prompt.depth;
    if (condition == Condition::kClosedBook) row.answer->strata.clear();
    return {row};
  }

 private:
  ItemGroup make_group(int64_t length, int64_t stratum, int64_t index) const {
    const double middle = static_cast<double>(2 * stratum + 1) / static_cast<double>(2 * depths_);
    const Cell cell = {{"length", length}, {"depth", middle}};
    ItemGroup group;
    group.name = fmt::format("{}/{}", cell_name(cell), index);
    group.items = {{cell, index, item_seed(seed_, "passkey", cell, index)}};
    group.length = length;
    group.ordinal = stratum;
    group.cost = length;
    return group;
  }

  std::vector<int32_t> encode(const std::string& text) const {
    return with_bos(*tokenizer_, tokenizer_->encode(text));
  }

  Prompt make_prompt(Condition condition, int64_t length, int64_t key, double depth) const {
    Prompt prompt;
    if (condition == Condition::kClosedBook) {
      prompt.text = kQuestion;
      prompt.tokens = encode(prompt.text);
      return prompt;
    }
    const int64_t budget = length - kNewTokens;
    const auto build = [&](int64_t characters) {
      const auto before = static_cast<int64_t>(depth * static_cast<double>(characters));
      prompt.text = passkey_prompt(key, before, characters - before);
      prompt.tokens = encode(prompt.text);
      prompt.depth =
          characters > 0 ? static_cast<double>(before) / static_cast<double>(characters) : 0;
      return std::ssize(prompt.tokens);
    };
    int64_t fits = 0;
    int64_t used = build(0);
    if (condition == Condition::kOracle) return prompt;
    // The tokens grow almost linearly with the characters: interpolate, and keep what fits.
    int64_t too_many = budget * 16;
    double per_token = 4;
    while (too_many - fits > 1 && used != budget) {
      const auto step = static_cast<int64_t>(static_cast<double>(budget - used) * per_token);
      const int64_t guess = std::clamp(fits + std::max<int64_t>(step, 1), fits + 1, too_many - 1);
      const int64_t count = build(guess);
      if (count > used) {
        per_token = static_cast<double>(guess - fits) / static_cast<double>(count - used);
      }
      if (count > budget) {
        too_many = guess;
        per_token *= 0.9;
      } else {
        fits = guess;
        used = count;
      }
    }
    build(fits);
    return prompt;
  }

  ItemRow ask(const Prompt& prompt, int64_t key, bool probed, const Subject& subject,
              Feeder& feeder) const {
    const std::unique_ptr<Sequence> sequence = subject.start();
    const std::string expected = std::to_string(key);
    AnswerResult answer;
    answer.question = kQuestion;
    answer.expected = expected;
    answer.gold_span = evidence(prompt, key);
    std::optional<RetentionProbe> probe;
    if (probed && answer.gold_span) {
      probe.emplace(value_places(*tokenizer_, prompt.tokens, *answer.gold_span, expected),
                    std::ssize(prompt.tokens), probe_);
      sequence->keep_positions();
      sequence->watch(probe->watch());
    }
    feeder.append(*sequence, prompt.tokens);
    sequence->watch(nullptr);
    const std::vector<int32_t> gold = encode_after(*tokenizer_, " " + expected);
    const std::vector<double> nll =
        score_answer(*sequence, gold, probe ? &*probe : nullptr, feeder);
    answer.gold_nll = std::accumulate(nll.begin(), nll.end(), 0.0);
    answer.gold_tokens = std::ssize(gold);
    if (probe) answer.retention = probe->result(answer.gold_tokens);

    GenerateOptions options;
    options.max_tokens = kNewTokens;
    const std::vector<int32_t> output = sequence->generate(options);
    answer.output = tokenizer_->decode(output);
    answer.answer = first_number(answer.output);
    answer.truncated = std::ssize(output) >= kNewTokens;

    ItemRow row;
    row.n_prompt = std::ssize(prompt.tokens);
    row.n_out = std::ssize(output);
    row.score = same_number(answer.answer, expected) ? 1 : 0;
    row.answer = std::move(answer);
    row.cache_bytes = sequence->bytes();
    row.seconds = feeder.take();
    return row;
  }

  std::optional<std::pair<int64_t, int64_t>> evidence(const Prompt& prompt, int64_t key) const {
    const std::string text = statement(key);
    const size_t at = prompt.text.find(text);
    const std::vector<int64_t> ends =
        byte_ends(*tokenizer_, std::span(prompt.tokens).subspan(1), prompt.text);
    if (at == std::string::npos || ends.empty()) return std::nullopt;
    const auto begin = static_cast<int64_t>(at);
    const auto [first, last] = token_span(ends, begin, begin + std::ssize(text));
    return std::pair{first + 1, last + 1};  // + 1: the BOS
  }

  const Tokenizer* tokenizer_;
  uint64_t seed_;
  std::vector<int64_t> lengths_;
  int64_t depths_;
  int64_t items_;
  ProbeSettings probe_;
};

}  // namespace

std::span<const SettingSpec> passkey_settings() {
  static const std::array<SettingSpec, 6> specs = {{
      {"lengths", std::vector<int64_t>{1024, 2048, 4096}, "tokens: prompt and answer", 1, 1e9, {}},
      {"beyond", std::string("off"), "on: lengths beyond the model's too", 0, 0, {"off", "on"}},
      {"depths", int64_t{5}, "equal strata of depth", 1, 1000, {}},
      {"items", int64_t{4}, "for each length and depth", 1, 1e6, {}},
      probe_setting(),
      read_weight_setting(),
  }};
  return specs;
}

std::string passkey_prompt(int64_t key, int64_t before, int64_t after) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", kTask, filler(before), statement(key), filler(after),
                     kQuestion);
}

std::unique_ptr<Task> make_passkey(const Settings& settings, const TaskEnvironment& environment) {
  return std::make_unique<Passkey>(settings, environment);
}

}  // namespace kvg
