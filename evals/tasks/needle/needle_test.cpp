#include "evals/tasks/needle/needle.h"

#include "base/error.h"
#include "evals/fakes.h"
#include "evals/scoring.h"

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using Settings_ = std::map<std::string, WrittenSetting>;

// Answers a known question with its gold answer when what it remembers holds that answer, otherwise
// with the abstention phrase: perfect recall within a window.
NextToken reader(const std::map<std::string, std::string>& gold) {
  return [&gold](std::span<const int32_t> seen) -> int32_t {
    const std::string text = ByteTokenizer().decode(seen);
    const size_t line = text.rfind('\n');
    const std::string last = line == std::string::npos ? text : text.substr(line + 1);
    for (const auto& [question, answer] : gold) {
      if (!last.starts_with(question)) continue;
      const bool known = text.find(answer) < (line == std::string::npos ? 0 : line);
      const std::string full = " " + (known ? answer : std::string("not stated")) + ".";
      const size_t done = last.size() - question.size();
      return done < full.size() ? full[done] : '\n';
    }
    return '?';
  };
}

class NeedleTest : public testing::Test {
 protected:
  std::unique_ptr<Task> make(Settings_ settings, uint64_t seed = 5) {
    const Settings_ defaults = {{"lengths", {"4k,6k", "test"}},
                                {"depths", {"6", "test"}},
                                {"items", {"4", "test"}},
                                {"questions", {"3", "test"}},
                                {"guard", {"500", "test"}}};
    settings.insert(defaults.begin(), defaults.end());
    return make_needle(Settings("needle", needle_settings(), settings),
                       {&tokenizer_, 8192, seed, true});
  }

  // Every item, answered by the reader from what it remembers. Names recur in other contexts with
  // other values, so the reader learns the questions of one context at a time.
  std::vector<ItemRow> run_all(const Task& task, Condition condition = Condition::kContext,
                               int64_t window = kFullWindow) {
    std::vector<ItemRow> rows;
    for (const ItemGroup& group : task.plan()) {
      std::map<std::string, std::string> gold;
      const FakeSubject subject("fake", reader(gold), window);
      Feeder feeder;
      for (const ItemRow& row : task.run(group, Condition::kClosedBook, subject, feeder)) {
        gold[row.answer->question] = row.answer->expected;
      }
      for (ItemRow& row : task.run(group, condition, subject, feeder)) rows.push_back(row);
    }
    return rows;
  }

  static std::string stratum(const ItemRow& row, const std::string& name) {
    return std::get<std::string>(row.answer->strata.at(name));
  }

  ByteTokenizer tokenizer_;
};

TEST_F(NeedleTest, PlansEveryDepthOnceAnIndex) {
  const auto task = make({{"profile", {"messy,simple", "test"}}});
  std::map<std::string, int> items;
  for (const ItemGroup& group : task->plan()) {
    EXPECT_EQ(group.items.size(), 3U);
    for (const Item& item : group.items)
      ++items[cell_name(item.cell) + "/" + std::to_string(item.index)];
  }
  EXPECT_EQ(items.size(), 2U * 2 * 6 * 4);
  for (const auto& [name, count] : items) EXPECT_EQ(count, 1) << name;
}

TEST_F(NeedleTest, PerfectRecallAnswersEverything) {
  const auto task = make({{"profile", {"messy,simple", "test"}}});
  for (const ItemRow& row : run_all(*task, Condition::kContext, kFullWindow)) {
    EXPECT_EQ(row.score, 1) << row.answer->question << " -> " << row.answer->output << " expected "
                            << row.answer->expected;
    EXPECT_FALSE(row.answer->truncated);
    EXPECT_LT(row.answer->gold_nll, 0.11 * static_cast<double>(row.answer->gold_tokens));
    const auto length = std::get<int64_t>(row.item.cell[1].second);
    EXPECT_LE(row.n_prompt + 24, length);
    EXPECT_GE(row.n_prompt, length - 200) << "the length is used";
  }
}

TEST_F(NeedleTest, AWindowOfTheGuardKnowsNothing) {
  const auto task = make({});
  for (const ItemRow& row : run_all(*task, Condition::kContext, 500)) {
    EXPECT_EQ(row.score, stratum(row, "kind") == "unanswerable" ? 1 : 0) << row.answer->question;
  }
}

TEST_F(NeedleTest, EvidenceStandsWhereItShould) {
  const auto task = make({{"profile", {"messy,simple", "test"}}});
  for (const ItemRow& row : run_all(*task)) {
    const auto length = std::get<int64_t>(row.item.cell[1].second);
    if (stratum(row, "kind") == "unanswerable") {
      EXPECT_FALSE(row.answer->gold_span.has_value());
      EXPECT_EQ(row.answer->expected, "not stated");
      continue;
    }
    const auto [begin, end] = *row.answer->gold_span;
    EXPECT_GT(begin, 0);
    EXPECT_LE(end, length - 500) << "nothing in the guard";
    EXPECT_GE(std::get<int64_t>(row.answer->strata.at("distance")),
              500 + std::ssize(row.answer->question));
    const double depth = static_cast<double>(begin) / static_cast<double>(length - 500);
    EXPECT_NEAR(depth, std::get<double>(row.item.cell[2].second), 0.5 / 6 + 0.12);
  }
}

TEST_F(NeedleTest, AProbeSaysWhetherTheValueWasThere) {
  const auto task = make({{"probe", {"on", "test"}}, {"read_weight", {"0.3", "test"}}});
  int stored = 0, lost = 0;
  for (const ItemRow& row : run_all(*task, Condition::kContext, 2500)) {
    if (stratum(row, "kind") == "unanswerable") {
      EXPECT_FALSE(row.answer->retention.has_value());
      continue;
    }
    const RetentionResult& result = row.answer->retention.value();
    EXPECT_EQ(result.value_tokens, std::ssize(row.answer->expected)) << row.answer->question;
    const auto [begin, end] = *row.answer->gold_span;
    if (begin >= row.n_prompt - 2500) {
      EXPECT_TRUE(result.stored && result.read);
      ++stored;
    } else if (end < row.n_prompt - 2500) {
      EXPECT_FALSE(result.stored);
      EXPECT_EQ(result.read_weight, 0);
      EXPECT_EQ(row.score, 0);
      ++lost;
    }
  }
  EXPECT_GT(stored, 5);
  EXPECT_GT(lost, 5);
  for (const ItemRow& row : run_all(*task, Condition::kOracle)) {
    EXPECT_FALSE(row.answer->retention.has_value());
  }
}

TEST_F(NeedleTest, LengthsBeyondTheModelsOnRequest) {
  const Settings_ far = {{"lengths", {"9k", "test"}}, {"items", {"1", "test"}}};
  EXPECT_THROW(make(far), Error);
  Settings_ allowed = far;
  allowed["beyond"] = {"on", "test"};
  EXPECT_GT(run_all(*make(allowed)).at(0).n_prompt, 9000);
}

TEST_F(NeedleTest, ControlsAreFloorAndCeiling) {
  const auto task = make({});
  for (const ItemRow& row : run_all(*task, Condition::kOracle, kFullWindow)) {
    EXPECT_EQ(row.score, 1) << row.answer->question << row.answer->output;
    EXPECT_LT(row.n_prompt, 400);
  }
  for (const ItemRow& row : run_all(*task, Condition::kClosedBook, kFullWindow)) {
    EXPECT_EQ(row.score, stratum(row, "kind") == "unanswerable" ? 1 : 0);
  }
}

TEST_F(NeedleTest, KindsComeInTheirShares) {
  const auto task = make({{"items", {"40", "test"}},
                          {"lengths", {"4k", "test"}},
                          {"updated", {"0.3", "test"}},
                          {"unanswerable", {"0.2", "test"}}});
  std::map<std::string, double> share;
  std::set<std::string> relations, forms, bins;
  for (const ItemRow& row : run_all(*task, Condition::kClosedBook)) {
    share[stratum(row, "kind")] += 1.0 / 240;
    relations.insert(stratum(row, "relation"));
    if (row.answer->strata.contains("form")) forms.insert(stratum(row, "form"));
    if (row.answer->strata.contains("overlap_bin")) bins.insert(stratum(row, "overlap_bin"));
  }
  EXPECT_NEAR(share["updated"], 0.3, 0.1);
  EXPECT_NEAR(share["unanswerable"], 0.2, 0.08);
  EXPECT_EQ(relations.size(), 10U);
  EXPECT_GE(forms.size(), 5U);
  EXPECT_GE(bins.size(), 2U);
}

TEST_F(NeedleTest, AResumedGroupAsksTheSameQuestions) {
  const auto task = make({});
  const std::vector<ItemGroup> groups = task->plan();
  const std::map<std::string, std::string> nothing;
  const FakeSubject subject("fake", reader(nothing), kFullWindow);
  Feeder feeder;
  ItemGroup group = groups.at(3);
  const std::vector<ItemRow> all = task->run(group, Condition::kContext, subject, feeder);
  group.items.erase(group.items.begin(), group.items.begin() + 2);
  const std::vector<ItemRow> rest = task->run(group, Condition::kContext, subject, feeder);
  ASSERT_EQ(all.size(), 3U);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].answer->question, all[2].answer->question);
  EXPECT_EQ(rest[0].n_prompt, all[2].n_prompt);
  EXPECT_EQ(rest[0].answer->gold_span, all[2].answer->gold_span);
}

TEST_F(NeedleTest, ItemsDoNotDependOnHowMany) {
  const auto few = run_all(*make({{"items", {"1", "test"}}, {"lengths", {"4k", "test"}}}));
  const auto many = run_all(*make({{"items", {"3", "test"}}, {"lengths", {"3k,4k", "test"}}}));
  std::map<std::string, std::string> questions;
  for (const ItemRow& row : many) {
    questions[item_key("m", row.condition, "needle", row.item)] = row.answer->question;
  }
  for (const ItemRow& row : few) {
    EXPECT_EQ(questions.at(item_key("m", row.condition, "needle", row.item)), row.answer->question);
  }
  EXPECT_NE(run_all(*make({}, 6))[0].answer->question, few[0].answer->question);
}

TEST_F(NeedleTest, RejectsWhatDoesNotFit) {
  EXPECT_THROW(make({{"lengths", {"600", "test"}}}), Error) << "shorter than guard and room";
  EXPECT_THROW(make({{"lengths", {"16k", "test"}}}), Error) << "beyond the model's context";
  EXPECT_THROW(make({{"guard", {"4k", "test"}}}), Error);
  EXPECT_THROW(make({{"kinds", {"near_nam", "test"}}}), Error);
  EXPECT_THROW(make({{"updated", {"0.9", "test"}}}), Error);
  const auto crowded = make({{"distractors", {"200", "test"}}, {"lengths", {"4k", "test"}}});
  EXPECT_THROW(run_all(*crowded), Error) << "statements longer than the room";
}

}  // namespace
}  // namespace kvg
