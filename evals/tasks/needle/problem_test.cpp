#include "evals/tasks/needle/problem.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

NeedleProblem make(const NeedleOptions& options, uint64_t seed, size_t questions = 4) {
  std::vector<double> depths;
  std::vector<uint64_t> seeds;
  for (size_t i = 0; i < questions; ++i) {
    depths.push_back((static_cast<double>(i) + 0.5) / static_cast<double>(questions));
    seeds.push_back(mix_seed({seed, i}));
  }
  return make_needle_problem(built_in_facts(), options, depths, seeds, seed);
}

NeedleOptions messy() {
  NeedleOptions options;
  options.kinds = distractor_kinds();
  return options;
}

int statements_with(const NeedleProblem& problem, const std::string& a, const std::string& b) {
  return static_cast<int>(std::ranges::count_if(problem.statements, [&](const NeedleStatement& s) {
    return s.text.find(a) != std::string::npos && s.text.find(b) != std::string::npos;
  }));
}

// The entity of a question: the longest name of the problem in it.
std::string entity_of(const NeedleProblem& problem, const NeedleQuestion& question) {
  std::string best;
  for (const std::string& name : problem.entities) {
    if (question.text.find(name) != std::string::npos && name.size() > best.size()) best = name;
  }
  return best;
}

TEST(NeedleProblem, EveryQuestionHasOneTrueAnswer) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const NeedleProblem problem = make(messy(), seed);
    for (const NeedleQuestion& question : problem.questions) {
      const std::string entity = entity_of(problem, question);
      ASSERT_FALSE(entity.empty()) << question.text;
      if (question.kind == "unanswerable") {
        EXPECT_EQ(question.expected, "not stated");
        EXPECT_TRUE(question.evidence.empty());
        continue;
      }
      EXPECT_NE(question.evidence.find(entity), std::string::npos) << question.evidence;
      EXPECT_NE(question.evidence.find(question.expected), std::string::npos);
      EXPECT_EQ(statements_with(problem, question.evidence, ""), 1);
    }
    std::set<std::string> names(problem.entities.begin(), problem.entities.end());
    EXPECT_EQ(names.size(), problem.entities.size());
  }
}

TEST(NeedleProblem, AnOlderValueStandsBeforeTheOneThatReplacesIt) {
  NeedleOptions options = messy();
  options.updated = 1;
  options.unanswerable = 0;
  options.distractors = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const NeedleProblem problem = make(options, seed);
    ASSERT_EQ(problem.statements.size(), 8U);
    for (size_t q = 0; q < problem.questions.size(); ++q) {
      EXPECT_EQ(problem.questions[q].kind, "updated");
      const std::string entity = entity_of(problem, problem.questions[q]);
      double older = -1, newer = -1;
      for (const NeedleStatement& s : problem.statements) {
        if (s.question == static_cast<int>(q)) newer = s.place;
        if (s.question < 0 && s.text.find(entity) != std::string::npos) older = s.place;
      }
      EXPECT_GE(older, 0);
      EXPECT_LT(older, newer);
    }
  }
}

TEST(NeedleProblem, DistractorsAreOfTheKindsAskedFor) {
  for (const std::string& kind : distractor_kinds()) {
    NeedleOptions options;
    options.kinds = {kind};
    options.updated = 0;
    options.unanswerable = 0;
    options.distractors = 5;
    int about_target = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const NeedleProblem problem = make(options, seed, 1);
      ASSERT_EQ(problem.statements.size(), 6U) << kind;
      about_target += statements_with(problem, entity_of(problem, problem.questions[0]), "") - 1;
    }
    // other_attribute runs out of relations of some kinds of entity.
    if (kind == "negated") {
      EXPECT_EQ(about_target, 100);
    } else if (kind == "other_attribute") {
      EXPECT_GT(about_target, 30);
    } else {
      EXPECT_EQ(about_target, 0) << kind;
    }
  }
}

TEST(NeedleProblem, NearValuesDifferInOneDigit) {
  NeedleOptions options;
  options.kinds = {"near_value"};
  options.updated = 0;
  options.unanswerable = 0;
  options.distractors = 1;
  int checked = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const NeedleProblem problem = make(options, seed, 1);
    const NeedleQuestion& question = problem.questions[0];
    if (question.answer != AnswerKind::kNumber) continue;
    for (const NeedleStatement& s : problem.statements) {
      if (s.question == 0) continue;
      int nearest = 99;
      for (size_t at = 0; at + question.expected.size() <= s.text.size(); ++at) {
        int differ = 0;
        for (size_t i = 0; i < question.expected.size(); ++i) {
          differ += s.text[at + i] != question.expected[i] ? 1 : 0;
        }
        nearest = std::min(nearest, differ);
      }
      EXPECT_EQ(nearest, 1) << s.text << " / " << question.expected;
      ++checked;
    }
  }
  EXPECT_GT(checked, 10);
}

TEST(NeedleProblem, HeldOutAndTrainedWordingsDoNotMix) {
  for (const std::string wording : {"heldout", "train"}) {
    NeedleOptions options = messy();
    options.names = options.statements = options.phrasing = wording;
    const bool held_out = wording == "heldout";
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const NeedleProblem problem = make(options, seed);
      for (const NeedleQuestion& question : problem.questions) {
        const std::string entity = entity_of(problem, question);
        bool known = false;
        for (const Relation& relation : built_in_facts().relations) {
          for (const Wording& w : relation.questions) {
            known |= w.held_out == held_out && fill_wording(w.text, entity, "") == question.text;
          }
        }
        EXPECT_TRUE(known) << question.text;
      }
    }
  }
}

TEST(NeedleProblem, SimpleHasOneWordingAndNothingElse) {
  NeedleOptions options;
  options.simple = true;
  options.distractors = 7;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const NeedleProblem problem = make(options, seed);
    ASSERT_EQ(problem.statements.size(), 11U);
    std::set<std::string> forms, relations;
    for (const NeedleStatement& s : problem.statements) forms.insert(s.form);
    for (const NeedleQuestion& q : problem.questions) {
      EXPECT_EQ(q.kind, "plain");
      relations.insert(q.relation);
    }
    EXPECT_EQ(forms.size(), 1U);
    EXPECT_EQ(relations.size(), 1U);
  }
}

TEST(NeedleProblem, IsDecidedByItsSeeds) {
  const NeedleProblem a = make(messy(), 9), b = make(messy(), 9), c = make(messy(), 10);
  ASSERT_EQ(a.statements.size(), b.statements.size());
  for (size_t i = 0; i < a.statements.size(); ++i) {
    EXPECT_EQ(a.statements[i].text, b.statements[i].text);
    EXPECT_EQ(a.statements[i].place, b.statements[i].place);
  }
  EXPECT_NE(a.questions[0].text + a.questions[1].text, c.questions[0].text + c.questions[1].text);
}

}  // namespace
}  // namespace kvg
