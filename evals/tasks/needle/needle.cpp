#include "evals/tasks/needle/needle.h"

#include "base/error.h"
#include "base/random.h"
#include "datasets/needle/facts.h"
#include "datasets/text.h"
#include "evals/retention.h"
#include "evals/scoring.h"
#include "evals/tasks/needle/haystack.h"
#include "evals/tasks/needle/problem.h"
#include "evals/tokens.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

namespace kvg {
namespace {

constexpr int64_t kNewTokens = 24;
constexpr int64_t kQuestionRoom = 64;   // tokens of a question and its answer, roughly
constexpr int64_t kSmallestRoom = 128;  // for evidence
constexpr int64_t kGeneratedBytes = 2 << 20;

class Needle : public Task {
 public:
  Needle(const Settings& settings, const TaskEnvironment& environment)
      : tokenizer_(environment.tokenizer),
        seed_(environment.seed),
        lengths_(settings.counts("lengths")),
        profiles_(settings.words("profile")),
        depths_(settings.count("depths")),
        items_(settings.count("items")),
        questions_(settings.count("questions")),
        guard_(settings.count("guard")),
        probe_(probe_settings(settings, "needle", environment)) {
    options_.names = settings.word("names");
    options_.statements = settings.word("statements");
    options_.phrasing = settings.word("phrasing");
    options_.distractors = settings.count("distractors");
    options_.kinds = settings.words("kinds");
    options_.updated = settings.number("updated");
    options_.unanswerable = settings.number("unanswerable");
    if (options_.updated + options_.unanswerable > 1) {
      throw Error(settings.where("updated"), "needle.updated + needle.unanswerable",
                  fmt::format("{}", options_.updated + options_.unanswerable), "at most 1");
    }
    for (const int64_t length : lengths_) check_length(length, environment.context, settings);
    text_ = load_text(settings.word("data"), kGeneratedBytes, seed_);
  }

  std::vector<ItemGroup> plan() const override {
    std::vector<ItemGroup> groups;
    for (const std::string& profile : profiles_) {
      for (const int64_t length : lengths_) {
        for (int64_t ordinal = 0; ordinal < items_ * groups_per_block(); ++ordinal) {
          groups.push_back(make_group(profile, length, ordinal));
        }
      }
    }
    return groups;
  }

  bool has(Condition) const override { return true; }
  std::vector<int64_t> lengths() const override { return lengths_; }
  std::vector<DataUse> data() const override {
    return {
        {text_.name, text_.sha256, std::ssize(text_.content)},
        {fmt::format("facts(version={})", built_in_facts().version), built_in_facts().sha256, 0}};
  }

  std::vector<ItemRow> run(const ItemGroup& wanted, Condition condition, const Subject& subject,
                           Feeder& feeder) const override {
    // The context depends on all questions of the group, also on those answered before a resume.
    const std::string& profile = std::get<std::string>(wanted.items.front().cell[0].second);
    const ItemGroup group = make_group(profile, wanted.length, wanted.ordinal);
    const NeedleProblem problem = make_problem(group, profile == "simple");
    FilledHaystack haystack;
    std::unique_ptr<Sequence> context;
    if (condition == Condition::kContext) {
      const HaystackPlan plan = {wanted.length - question_room(problem), guard_};
      haystack = fill_haystack(text_.content, problem, plan, *tokenizer_,
                               mix_seed({group.seed, name_seed("haystack")}));
      context = subject.start();
      if (probe_.on) context->keep_positions();
      feeder.append(*context, haystack.tokens);
    }
    std::vector<ItemRow> rows;
    for (size_t i = 0; i < group.items.size(); ++i) {
      const bool asked = std::ranges::any_of(wanted.items, [&](const Item& item) {
        return item.cell == group.items[i].cell && item.index == group.items[i].index;
      });
      if (!asked) continue;
      const NeedleQuestion& question = problem.questions[i];
      std::unique_ptr<Sequence> sequence = condition == Condition::kContext
                                               ? context->clone()
                                               : start(condition, question, subject, feeder);
      std::optional<TokenSpan> evidence;
      if (condition == Condition::kContext) {
        evidence = evidence_of(problem, haystack, static_cast<int>(i));
      }
      rows.push_back(ask(question, haystack, evidence, *sequence, feeder));
      rows.back().item = group.items[i];
      rows.back().group = group.name;
    }
    return rows;
  }

 private:
  void check_length(int64_t length, int64_t trained, const Settings& settings) const {
    const int64_t smallest = guard_ + kQuestionRoom + kSmallestRoom;
    if (length < smallest) {
      throw Error(settings.where("lengths"), "needle.lengths", std::to_string(length),
                  fmt::format("at least {} with a guard of {}", smallest, guard_));
    }
    if (trained > 0 && length > trained && settings.word("beyond") == "off") {
      throw Error(settings.where("lengths"), "needle.lengths", std::to_string(length),
                  fmt::format("at most the model's context of {} (or beyond=on)", trained));
    }
  }

  int64_t groups_per_block() const { return (depths_ + questions_ - 1) / questions_; }

  // A block has one item of each depth, shuffled and dealt to contexts of `questions_` each, so
  // that every index is complete over depths and a context covers depths from everywhere.
  ItemGroup make_group(const std::string& profile, int64_t length, int64_t ordinal) const {
    const int64_t index = ordinal / groups_per_block();
    const uint64_t block_seed =
        mix_seed({seed_, name_seed("needle"), name_seed(profile), static_cast<uint64_t>(length),
                  static_cast<uint64_t>(index)});
    std::vector<int64_t> strata(static_cast<size_t>(depths_));
    std::iota(strata.begin(), strata.end(), 0);
    Random random(block_seed);
    for (size_t i = strata.size(); i > 1; --i) std::swap(strata[i - 1], strata[random.below(i)]);

    ItemGroup group;
    group.name = fmt::format("{}/{}/{}", profile, length, ordinal);
    group.seed = mix_seed({block_seed, static_cast<uint64_t>(ordinal)});
    group.length = length;
    group.ordinal = ordinal;
    const int64_t first = ordinal % groups_per_block() * questions_;
    for (int64_t i = first; i < std::min(first + questions_, depths_); ++i) {
      const double middle = static_cast<double>(2 * strata[static_cast<size_t>(i)] + 1) /
                            static_cast<double>(2 * depths_);
      const Cell cell = {{"profile", profile}, {"length", length}, {"depth", middle}};
      group.items.push_back({cell, index, item_seed(seed_, "needle", cell, index)});
    }
    group.cost = length + kQuestionRoom * std::ssize(group.items);
    return group;
  }

  NeedleProblem make_problem(const ItemGroup& group, bool simple) const {
    std::vector<double> places;
    std::vector<uint64_t> seeds;
    for (const Item& item : group.items) {
      Random random(mix_seed({item.seed, name_seed("depth")}));
      const double jitter = (random.uniform() - 0.5) / static_cast<double>(depths_);
      places.push_back(std::get<double>(item.cell[2].second) + jitter);
      seeds.push_back(item.seed);
    }
    NeedleOptions options = options_;
    options.simple = simple;
    return make_needle_problem(built_in_facts(), options, places, seeds, group.seed);
  }

  // Tokens of the longest question and answer, kept free after the context.
  int64_t question_room(const NeedleProblem& problem) const {
    int64_t room = 0;
    for (const NeedleQuestion& question : problem.questions) {
      const int64_t gold = std::ssize(encode_after(*tokenizer_, " " + question.expected));
      room = std::max(room, std::ssize(encode_after(*tokenizer_, "\n" + question.text)) +
                                std::max(gold, kNewTokens));
    }
    return room;
  }

  std::unique_ptr<Sequence> start(Condition condition, const NeedleQuestion& question,
                                  const Subject& subject, Feeder& feeder) const {
    const bool oracle = condition == Condition::kOracle && !question.evidence.empty();
    std::unique_ptr<Sequence> sequence = subject.start();
    feeder.append(*sequence, with_bos(*tokenizer_, oracle ? tokenizer_->encode(question.evidence)
                                                          : std::vector<int32_t>{}));
    return sequence;
  }

  ItemRow ask(const NeedleQuestion& question, const FilledHaystack& haystack,
              const std::optional<TokenSpan>& evidence, Sequence& sequence, Feeder& feeder) const {
    const std::vector<int32_t> asked = encode_after(*tokenizer_, "\n" + question.text);
    std::optional<RetentionProbe> probe;
    if (probe_.on && evidence) {
      probe.emplace(value_places(*tokenizer_, haystack.tokens, *evidence, question.expected),
                    sequence.length() + std::ssize(asked), probe_);
      sequence.watch(probe->watch());
    }
    feeder.append(sequence, asked);
    sequence.watch(nullptr);
    AnswerResult answer;
    answer.question = question.text;
    answer.expected = question.expected;
    const std::vector<int32_t> gold = encode_after(*tokenizer_, " " + question.expected);
    const std::vector<double> nll = score_answer(sequence, gold, probe ? &*probe : nullptr, feeder);
    answer.gold_nll = std::accumulate(nll.begin(), nll.end(), 0.0);
    answer.gold_tokens = std::ssize(gold);
    if (probe) answer.retention = probe->result(answer.gold_tokens);

    ItemRow row;
    row.n_prompt = sequence.length();
    GenerateOptions options;
    options.max_tokens = kNewTokens;
    options.stop = [&](std::span<const int32_t> tokens) {
      return sentence_complete(tokenizer_->decode(tokens));
    };
    const std::vector<int32_t> output = sequence.generate(options);
    row.n_out = std::ssize(output);
    answer.output = tokenizer_->decode(output);
    answer.truncated = row.n_out >= kNewTokens && !sentence_complete(answer.output);
    const std::string expected = normalize_answer(question.expected);
    const auto words = static_cast<size_t>(1 + std::ranges::count(expected, ' '));
    answer.answer = extract_answer(answer.output, question.answer, built_in_facts().abstain, words);
    row.score = answer.answer == expected ? 1 : 0;
    describe(question, &answer.strata);
    if (evidence) locate(*evidence, row.n_prompt, &answer);
    row.answer = std::move(answer);
    row.cache_bytes = sequence.bytes();
    row.seconds = feeder.take();
    return row;
  }

  static void describe(const NeedleQuestion& question, std::map<std::string, Level>* strata) {
    (*strata)["kind"] = question.kind;
    (*strata)["relation"] = question.relation;
    if (question.evidence.empty()) return;
    (*strata)["form"] = question.form;
    (*strata)["overlap_jaccard"] = question.jaccard;
    (*strata)["overlap_rouge1"] = question.rouge1;
    (*strata)["overlap_bin"] = overlap_bin(question.jaccard);
  }

  // The tokens of a question's evidence; none when it has no answer.
  static std::optional<TokenSpan> evidence_of(const NeedleProblem& problem,
                                              const FilledHaystack& haystack, int question) {
    const auto gold = std::ranges::find(problem.statements, question, &NeedleStatement::question);
    if (gold == problem.statements.end()) return std::nullopt;
    return haystack.spans[static_cast<size_t>(gold - problem.statements.begin())];
  }

  // Where the evidence stands: its tokens, its depth and how far back the answer has to look.
  static void locate(const TokenSpan& evidence, int64_t prompt, AnswerResult* answer) {
    const auto [begin, end] = evidence;
    answer->gold_span = evidence;
    answer->strata["depth"] = static_cast<double>(begin) / static_cast<double>(prompt);
    answer->strata["distance"] = prompt - end;
  }

  const Tokenizer* tokenizer_;
  uint64_t seed_;
  std::vector<int64_t> lengths_;
  std::vector<std::string> profiles_;
  int64_t depths_;
  int64_t items_;
  int64_t questions_;
  int64_t guard_;
  ProbeSettings probe_;
  NeedleOptions options_;
  Text text_;
};

}  // namespace

std::span<const SettingSpec> needle_settings() {
  static const std::vector<std::string> sides = {"heldout", "train", "any"};
  static const std::array<SettingSpec, 17> specs = {{
      {"data", std::string("generated"), "haystack: generated, wikitext2 or a text file", 0, 0, {}},
      {"profile", std::vector<std::string>{"messy"}, "messy or simple", 0, 0, {"messy", "simple"}},
      {"lengths", std::vector<int64_t>{1024, 2048, 4096}, "tokens: prompt and answer", 1, 1e9, {}},
      {"beyond", std::string("off"), "on: lengths beyond the model's too", 0, 0, {"off", "on"}},
      {"depths", int64_t{10}, "equal strata of depth", 1, 1000, {}},
      {"items", int64_t{4}, "for each length and depth", 1, 1e6, {}},
      {"questions", int64_t{5}, "over one context", 1, 100, {}},
      {"guard", int64_t{320}, "last tokens of the context, without evidence", 1, 1e9, {}},
      {"distractors", int64_t{6}, "statements in a context that nobody asks about", 0, 1000, {}},
      {"kinds", distractor_kinds(), "of distractors, in turn", 0, 0, distractor_kinds()},
      {"updated", 0.2, "share of questions whose fact replaces an older value", 0, 1, {}},
      {"unanswerable", 0.2, "share of questions without a fact", 0, 0.95, {}},
      {"names", std::string("heldout"), "heldout, train or any", 0, 0, sides},
      {"statements", std::string("heldout"), "their wording: heldout, train or any", 0, 0, sides},
      {"phrasing", std::string("heldout"), "of questions: heldout, train or any", 0, 0, sides},
      probe_setting(),
      read_weight_setting(),
  }};
  return specs;
}

std::unique_ptr<Task> make_needle(const Settings& settings, const TaskEnvironment& environment) {
  return std::make_unique<Needle>(settings, environment);
}

}  // namespace kvg
