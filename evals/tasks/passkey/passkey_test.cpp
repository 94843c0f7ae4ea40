#include "evals/tasks/passkey/passkey.h"

#include "base/error.h"
#include "evals/fakes.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

namespace kvg {
namespace {

class PasskeyTest : public testing::Test {
 protected:
  std::unique_ptr<Task> make(const std::string& lengths, const std::string& depths = "5",
                             const std::string& items = "2", uint64_t seed = 7) {
    return make({{"lengths", lengths}, {"depths", depths}, {"items", items}}, seed);
  }
  std::unique_ptr<Task> make(const std::map<std::string, std::string>& written, uint64_t seed = 7,
                             bool can_watch = true) {
    std::map<std::string, WrittenSetting> settings;
    for (const auto& [name, value] : written) settings[name] = {value, "test"};
    return make_passkey(Settings("passkey", passkey_settings(), settings),
                        {&tokenizer_, 4096, seed, can_watch});
  }

  std::vector<ItemRow> run_all(const Task& task, int64_t window,
                               Condition condition = Condition::kContext, double attention = 0.5) {
    const FakeSubject subject("fake", &copy_from_context, window, attention);
    Feeder feeder;
    std::vector<ItemRow> rows;
    for (const ItemGroup& group : task.plan()) {
      for (ItemRow& row : task.run(group, condition, subject, feeder)) rows.push_back(row);
    }
    return rows;
  }

  ByteTokenizer tokenizer_;
};

double accuracy(const std::vector<ItemRow>& rows) {
  double sum = 0;
  for (const ItemRow& row : rows) sum += *row.score;
  return sum / static_cast<double>(rows.size());
}

TEST(PasskeyPrompt, IsThePublishedText) {
  EXPECT_EQ(
      passkey_prompt(12345, 25, 100),
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
      "them. I will quiz you about the important information there.\n"
      "The grass is green. The s\n"
      "The pass key is 12345. Remember it. 12345 is the pass key.\n"
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back "
      "again. The grass \n"
      "What is the pass key? The pass key is");
  EXPECT_EQ(
      passkey_prompt(1, 0, 0).find("\n\nThe pass key is 1. Remember it. 1 is the pass key.\n\n"),
      148U);
}

TEST_F(PasskeyTest, PerfectRecallAnswersEverything) {
  const auto task = make("512,1k");
  const std::vector<ItemRow> rows = run_all(*task, kFullWindow);
  EXPECT_EQ(rows.size(), 20U);
  EXPECT_EQ(accuracy(rows), 1);
  for (const ItemRow& row : rows) {
    EXPECT_EQ(row.answer->answer, row.answer->expected) << row.answer->output;
    EXPECT_NEAR(row.answer->gold_nll, -std::log(0.9) * static_cast<double>(row.answer->gold_tokens),
                1e-9);
  }
}

TEST_F(PasskeyTest, PromptsFillTheLengthExactly) {
  for (const ItemRow& row : run_all(*make("512,999,1k"), 10)) {
    EXPECT_EQ(row.n_prompt, std::get<int64_t>(row.item.cell[0].second) - 10);
  }
}

TEST_F(PasskeyTest, AWindowForgetsWhatIsDeep) {
  const auto task = make("1k", "4", "3");
  double deep = 0, shallow = 0;
  for (const ItemRow& row : run_all(*task, 600)) {
    const double depth = std::get<double>(row.item.cell[1].second);
    if (depth < 0.25) deep += *row.score;
    if (depth > 0.75) shallow += *row.score;
  }
  EXPECT_EQ(deep, 0);
  EXPECT_EQ(shallow, 3);
}

TEST_F(PasskeyTest, EvidenceSpanAndDepthAreTrue) {
  const auto task = make("700", "5", "4");
  std::set<std::string> keys;
  for (const ItemRow& row : run_all(*task, kFullWindow)) {
    ASSERT_TRUE(row.answer->gold_span.has_value());
    const auto [begin, end] = *row.answer->gold_span;
    const std::string expected = row.answer->expected;
    EXPECT_EQ(end - begin,
              std::ssize("The pass key is . Remember it.  is the pass key." + expected + expected));
    const double depth = std::get<double>(row.answer->strata.at("depth"));
    const double middle = std::get<double>(row.item.cell[1].second);
    EXPECT_NEAR(depth, middle, 0.1 + 1e-2);
    keys.insert(expected);
  }
  EXPECT_GT(keys.size(), 15U) << "each item draws a key of its own";
}

TEST_F(PasskeyTest, ControlsAreFloorAndCeiling) {
  const auto task = make("1k");
  EXPECT_EQ(accuracy(run_all(*task, kFullWindow, Condition::kClosedBook)), 0);
  const std::vector<ItemRow> oracle = run_all(*task, kFullWindow, Condition::kOracle);
  EXPECT_EQ(accuracy(oracle), 1);
  EXPECT_LT(oracle.front().n_prompt, 300);
}

TEST_F(PasskeyTest, ItemsDoNotDependOnTheirNeighbours) {
  const std::vector<ItemRow> few = run_all(*make("512", "5", "1"), 100);
  const std::vector<ItemRow> many = run_all(*make("512,1k", "5", "3"), 100);
  for (size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].answer->expected, many[i].answer->expected);
    EXPECT_EQ(few[i].item.seed, many[i].item.seed);
  }
  EXPECT_NE(few[0].answer->expected, run_all(*make("512", "5", "1", 8), 100)[0].answer->expected);
}

TEST_F(PasskeyTest, RejectsLengthsThatDoNotFit) {
  EXPECT_THROW(make("100"), Error);
  EXPECT_THROW(make("8k"), Error) << "beyond the model's context";
  const auto task = make({{"lengths", "8k"}, {"depths", "1"}, {"items", "1"}, {"beyond", "on"}});
  EXPECT_EQ(run_all(*task, kFullWindow).at(0).n_prompt, 8192 - 10);
}

TEST_F(PasskeyTest, AProbeTellsWhereAnswersAreLost) {
  const auto task = make({{"lengths", "700"}, {"depths", "4"}, {"items", "2"}, {"probe", "on"}});
  const auto probed = [&](int64_t window, double attention) {
    std::vector<RetentionResult> results;
    for (const ItemRow& row : run_all(*task, window, Condition::kContext, attention)) {
      results.push_back(row.answer->retention.value());
      EXPECT_EQ(results.back().value_tokens, std::ssize(row.answer->expected))
          << "one byte a token";
    }
    return results;
  };
  for (const RetentionResult& result : probed(kFullWindow, 0.6)) {
    EXPECT_TRUE(result.stored && result.read);
    EXPECT_EQ(result.stored_share, std::vector<double>{1});
    EXPECT_NEAR(result.read_weight, 0.6, 1e-12);
  }
  for (const RetentionResult& result : probed(kFullWindow, 0.05)) {
    EXPECT_TRUE(result.stored && !result.read) << "held, and nobody looked";
  }
  for (const RetentionResult& result : probed(40, 0.6)) {
    EXPECT_TRUE(!result.stored && !result.read) << "forgotten";
    EXPECT_EQ(result.read_weight, 0);
  }
  const auto is_probed = [](const ItemRow& row) { return row.answer->retention.has_value(); };
  EXPECT_EQ(std::ranges::count_if(run_all(*task, 99, Condition::kOracle), is_probed), 0);
  EXPECT_EQ(std::ranges::count_if(run_all(*make("512"), 99), is_probed), 0) << "off by default";
  EXPECT_THROW(make({{"probe", "on"}}, 7, false), Error) << "a set that cannot be watched";
}

}  // namespace
}  // namespace kvg
