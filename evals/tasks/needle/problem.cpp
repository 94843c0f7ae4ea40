#include "evals/tasks/needle/problem.h"

#include "base/error.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace kvg {
namespace {

constexpr int kAttempts = 1000;
constexpr int kServerNumbers = 30;

template <typename T>
const T& pick(const std::vector<T>& options, Random& random) {
  return options[random.below(options.size())];
}

bool chance(double share, Random& random) { return random.uniform() < share; }

class Builder {
 public:
  Builder(const Facts& facts, const NeedleOptions& options, uint64_t seed)
      : facts_(facts), options_(options), shared_(seed) {
    if (!options_.simple) return;
    only_relation_ = &pick(facts_.relations, shared_);
    only_statement_ = &wording(only_relation_->statements, options_.statements, shared_);
    only_question_ = &wording(only_relation_->questions, options_.phrasing, shared_);
  }

  void add_question(double depth, uint64_t seed) {
    Random random(seed);
    const Relation& relation =
        only_relation_ != nullptr ? *only_relation_ : pick(facts_.relations, random);
    NeedleQuestion question;
    question.relation = relation.name;
    question.answer = relation.digits > 0 ? AnswerKind::kNumber : AnswerKind::kText;
    const bool missing = !options_.simple && chance(options_.unanswerable, random);
    const bool updated = !options_.simple && !missing &&
                         chance(options_.updated / (1 - options_.unanswerable), random);
    question.kind = missing ? "unanswerable" : updated ? "updated" : "plain";
    const std::string entity = fresh_entity(relation, random);
    pairs_.insert({relation.name, entity});
    const Wording& asked = only_question_ != nullptr
                               ? *only_question_
                               : wording(relation.questions, options_.phrasing, random);
    question.text = fill_wording(asked.text, entity, "");
    const auto number = static_cast<int>(problem_.questions.size());
    if (missing) {
      question.expected = facts_.abstain;
      targets_.push_back({&relation, entity, ""});
    } else {
      const std::string value = value_of(relation, random);
      question.expected = value;
      NeedleStatement evidence = updated ? update(relation, entity, value, depth, random)
                                         : state(relation, entity, value, random);
      evidence.place = depth;
      evidence.question = number;
      question.evidence = evidence.text;
      question.form = evidence.form;
      measure_overlap(asked.text, evidence_wording_, &question);
      problem_.statements.push_back(std::move(evidence));
      targets_.push_back({&relation, entity, value});
    }
    problem_.questions.push_back(std::move(question));
  }

  NeedleProblem finish() {
    for (int64_t i = 0; i < options_.distractors; ++i) add_distractor(i);
    std::ranges::stable_sort(problem_.statements, {}, &NeedleStatement::place);
    return std::move(problem_);
  }

 private:
  struct Target {
    const Relation* relation;
    std::string entity;
    std::string value;  // empty: unanswerable
  };

  static bool held_out(const std::string& side, Random& random) {
    return side == "heldout" || (side == "any" && chance(0.5, random));
  }

  static const Wording& wording(const std::vector<Wording>& wordings, const std::string& side,
                                Random& random) {
    const bool wanted = held_out(side, random);
    for (;;) {  // both splits are present, parse_facts() says so
      const Wording& candidate = pick(wordings, random);
      if (candidate.held_out == wanted) return candidate;
    }
  }

  std::string entity(const Relation& relation, Random& random) const {
    const NameLists& names = facts_.names(relation.entity, held_out(options_.names, random));
    if (relation.entity != "person") return pick(names.whole, random);
    const std::string& first = pick(names.first, random);
    return first + " " + pick(names.last, random);
  }

  // A name that this problem does not use yet.
  std::string fresh_entity(const Relation& relation, Random& random) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      std::string name = entity(relation, random);
      if (claim(name)) return name;
    }
    throw Error("needle", "names", fmt::format("no more names of kind {}", relation.entity),
                "fewer questions or distractors in a context");
  }

  bool claim(const std::string& name) {
    if (std::ranges::find(problem_.entities, name) != problem_.entities.end()) return false;
    problem_.entities.push_back(name);
    return true;
  }

  std::string near_name(const Relation& relation, const std::string& name, Random& random) const {
    if (relation.entity == "servers") {
      return fmt::format("{}-{:02d}", name.substr(0, name.rfind('-')),
                         1 + random.below(kServerNumbers));
    }
    const size_t space = name.find(' ');
    const std::string first = name.substr(0, space);
    const std::string last = name.substr(space + 1);
    std::vector<std::string> twins;
    for (const auto& [a, b] : facts_.near_first) {
      if (relation.entity == "person" && (a == first || b == first)) {
        twins.push_back((a == first ? b : a) + " " + last);
      }
    }
    for (const auto& [a, b] : facts_.near_last) {
      if (relation.entity == "person" && (a == last || b == last)) {
        twins.push_back(first + " " + (a == last ? b : a));
      }
    }
    if (!twins.empty() && chance(0.7, random)) return pick(twins, random);
    const std::string other = entity(relation, random);
    const size_t cut = other.find(' ');
    return chance(0.5, random) ? first + other.substr(cut) : other.substr(0, cut) + " " + last;
  }

  std::string value_of(const Relation& relation, Random& random) const {
    if (relation.digits == 0) return pick(relation.choices, random);
    std::string digits(1, static_cast<char>('1' + random.below(9)));
    while (std::ssize(digits) < relation.digits) {
      digits += static_cast<char>('0' + random.below(10));
    }
    return digits;
  }

  std::string other_value(const Relation& relation, const std::string& value,
                          Random& random) const {
    std::string other = value_of(relation, random);
    while (other == value) other = value_of(relation, random);
    return other;
  }

  std::string near_value(const Relation& relation, const std::string& value, Random& random) const {
    if (relation.digits == 0) return other_value(relation, value, random);
    std::string other = value;
    char& digit = other[1 + random.below(other.size() - 1)];
    digit =
        static_cast<char>('0' + (static_cast<uint64_t>(digit - '0') + 1 + random.below(9)) % 10);
    return other;
  }

  NeedleStatement state(const Relation& relation, const std::string& name, const std::string& value,
                        Random& random) {
    const Wording& said = only_statement_ != nullptr
                              ? *only_statement_
                              : wording(relation.statements, options_.statements, random);
    evidence_wording_ = said.text;
    return {fill_wording(said.text, name, value), said.form, own_line(said.form), 0, -1};
  }

  // Puts the older value somewhere before `depth` and returns the statement that replaces it.
  NeedleStatement update(const Relation& relation, const std::string& name,
                         const std::string& value, double depth, Random& random) {
    const std::string old = other_value(relation, value, random);
    NeedleStatement first =
        chance(0.5, random) ? state(relation, name, old, random)
                            : NeedleStatement{fill_wording(pick(relation.stale, random), name, old),
                                              "stale", false, 0, -1};
    first.place = depth * random.uniform();
    problem_.statements.push_back(std::move(first));
    evidence_wording_ = pick(relation.update, random);
    return {fill_wording(evidence_wording_, name, value), "update", false, 0, -1};
  }

  static void measure_overlap(const std::string& asked, const std::string& said,
                              NeedleQuestion* question) {
    const std::string bare_question = fill_wording(asked, "", "");
    const std::string bare_evidence = fill_wording(said, "", "");
    question->jaccard = word_jaccard(bare_question, bare_evidence);
    question->rouge1 = rouge1_precision(bare_question, bare_evidence);
  }

  void add_distractor(int64_t number) {
    const std::string kind =
        options_.simple ? "other_entity"
                        : options_.kinds[static_cast<size_t>(number) % options_.kinds.size()];
    const Target& target = targets_[shared_.below(targets_.size())];
    NeedleStatement statement = distractor(kind, target);
    statement.place = shared_.uniform();
    problem_.statements.push_back(std::move(statement));
  }

  NeedleStatement distractor(const std::string& kind, const Target& target) {
    const Relation& relation = *target.relation;
    const std::string avoided = target.value.empty() ? value_of(relation, shared_) : target.value;
    if (kind == "negated") {
      const std::string denied = other_value(relation, avoided, shared_);
      return {fill_wording(pick(relation.negated, shared_), target.entity, denied), "negated",
              false, 0, -1};
    }
    if (kind == "other_attribute") {
      for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const Relation& other = pick(facts_.relations, shared_);
        if (other.entity != relation.entity || !pairs_.insert({other.name, target.entity}).second) {
          continue;
        }
        return state(other, target.entity, value_of(other, shared_), shared_);
      }
    }
    const std::string value = kind == "near_value" ? near_value(relation, avoided, shared_)
                                                   : other_value(relation, avoided, shared_);
    std::string name;
    for (int attempt = 0; kind == "near_name" && attempt < kAttempts && name.empty(); ++attempt) {
      std::string twin = near_name(relation, target.entity, shared_);
      if (claim(twin)) name = std::move(twin);
    }
    if (name.empty()) name = fresh_entity(relation, shared_);
    pairs_.insert({relation.name, name});
    return state(relation, name, value, shared_);
  }

  const Facts& facts_;
  const NeedleOptions& options_;
  Random shared_;
  const Relation* only_relation_ = nullptr;
  const Wording* only_statement_ = nullptr;
  const Wording* only_question_ = nullptr;
  std::string evidence_wording_;  // of the last statement made
  NeedleProblem problem_;
  std::vector<Target> targets_;
  std::set<std::pair<std::string, std::string>> pairs_;  // relation, entity: stated or asked
};

}  // namespace

std::vector<std::string> distractor_kinds() {
  return {"other_entity", "other_attribute", "near_name", "near_value", "negated"};
}

NeedleProblem make_needle_problem(const Facts& facts, const NeedleOptions& options,
                                  std::span<const double> depths, std::span<const uint64_t> seeds,
                                  uint64_t context_seed) {
  KVG_CHECK(depths.size() == seeds.size() && !depths.empty(), "one seed a depth");
  KVG_CHECK(options.simple || !options.kinds.empty() || options.distractors == 0, "kinds needed");
  Builder builder(facts, options, context_seed);
  for (size_t i = 0; i < depths.size(); ++i) builder.add_question(depths[i], seeds[i]);
  return builder.finish();
}

}  // namespace kvg
