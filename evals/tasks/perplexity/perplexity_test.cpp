#include "evals/tasks/perplexity/perplexity.h"

#include "base/error.h"
#include "base/random.h"
#include "evals/fakes.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

class PerplexityTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() /
            ("kvg_perplexity_" + std::to_string(getpid()) + ".txt");
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }

  std::unique_ptr<Task> make(std::map<std::string, WrittenSetting> settings) {
    settings["data"] = {path_.string(), "test"};
    return make_perplexity(Settings("perplexity", perplexity_settings(), settings),
                           {&tokenizer_, 8192, 0});
  }

  std::vector<ItemRow> run_all(const Task& task, int64_t window) {
    const FakeSubject subject("fake", &copy_from_context, window);
    Feeder feeder(7);
    std::vector<ItemRow> rows;
    for (const ItemGroup& group : task.plan()) {
      for (ItemRow& row : task.run(group, Condition::kContext, subject, feeder))
        rows.push_back(row);
    }
    return rows;
  }

  std::filesystem::path path_;
  ByteTokenizer tokenizer_;
};

std::string random_letters(size_t n, uint64_t seed) {
  Random random(seed);
  std::string text(n, ' ');
  for (char& c : text) c = static_cast<char>('a' + random.below(26));
  return text;
}

TEST(TextPasses, ScoreEveryTokenOnce) {
  Random random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const auto window = static_cast<int64_t>(2 + random.below(40));
    const auto stride = static_cast<int64_t>(1 + random.below(static_cast<uint64_t>(window - 1)));
    const auto tokens = static_cast<int64_t>(1 + random.below(200));
    const std::string strided =
        "stride(" + std::to_string(window) + "," + std::to_string(stride) + ")";
    for (const std::string& protocol :
         {std::string("stream"), "window(" + std::to_string(window) + ")", strided}) {
      int64_t next = 0;
      for (const TextPass& pass : text_passes(protocol, 17, tokens, "test")) {
        EXPECT_EQ(pass.scored, next);
        EXPECT_LE(pass.begin, pass.scored);
        EXPECT_LT(pass.scored, pass.end);
        EXPECT_LE(pass.end - pass.begin + 1, protocol == "stream" ? 17 : window);
        if (protocol == strided && pass.end > window - 1) {
          EXPECT_EQ(pass.end - pass.begin, window - 1) << "a strided window is full";
        }
        next = pass.end;
      }
      EXPECT_EQ(next, tokens);
    }
  }
}

TEST(TextPasses, RejectsBadProtocols) {
  for (const char* bad :
       {"", "strem", "window", "window()", "window(1)", "window(5,2)", "stride(8)", "stride(8,8)",
        "stride(8,0)", "window(x)", "stream(3)", "window(5"}) {
    EXPECT_THROW(text_passes(bad, 64, 100, "test"), Error) << bad;
  }
}

TEST_F(PerplexityTest, SumsAddUp) {
  write(random_letters(300, 2) + random_letters(300, 2));
  const auto task = make({{"context", {"200", "test"}}, {"tokens", {"0", "test"}}});
  const std::vector<ItemRow> rows = run_all(*task, kFullWindow);
  ASSERT_EQ(rows.size(), 4U);  // 199 + 199 + 199 + 3
  int64_t bytes = 0;
  for (const ItemRow& row : rows) {
    const LikelihoodResult& result = *row.likelihood;
    int64_t by_position = 0, by_distance = 0, by_block = 0;
    double nll_by_position = 0, nll_by_distance = 0;
    for (const TokenSums& sum : result.positions)
      by_position += sum.tokens, nll_by_position += sum.nll;
    for (const TokenSums& sum : result.repeats)
      by_distance += sum.tokens, nll_by_distance += sum.nll;
    for (const auto& [tokens, nll] : result.blocks) by_block += tokens;
    EXPECT_EQ(by_position, result.tokens);
    EXPECT_EQ(by_distance, result.tokens);
    EXPECT_EQ(by_block, result.tokens);
    EXPECT_NEAR(nll_by_position, result.nll, 1e-9);
    EXPECT_NEAR(nll_by_distance, result.nll, 1e-9);
    EXPECT_EQ(row.n_prompt, result.tokens + 1) << "the BOS and every token of the stream";
    bytes += *result.text_bytes;
  }
  EXPECT_EQ(bytes, 600);
}

TEST_F(PerplexityTest, MemoryShowsInTheRepeatDistances) {
  // The second half repeats the first at a distance of 400: a window of 100 cannot know it.
  const std::string half = random_letters(400, 3);
  write(half + half);
  const auto task = make({{"tokens", {"0", "test"}}});
  const LikelihoodResult full = *run_all(*task, kFullWindow).at(0).likelihood;
  const LikelihoodResult window = *run_all(*task, 100).at(0).likelihood;
  EXPECT_LT(full.nll / 800, 4.5);
  EXPECT_GT(window.nll, full.nll + 350 * std::log(0.9 * 2560));
  // The copied half sits in the positions from 256 and 512.
  EXPECT_LT(full.positions.back().nll / static_cast<double>(full.positions.back().tokens), 0.2);
}

TEST_F(PerplexityTest, RepeatDistancesAreBucketed) {
  write(std::string("ab") + std::string(70, 'c') + "a" + std::string(300, 'd') + "b");
  const auto task = make({{"tokens", {"0", "test"}}});
  std::map<std::pair<int64_t, int64_t>, int64_t> tokens;
  const std::vector<ItemRow> rows = run_all(*task, kFullWindow);
  for (const TokenSums& sum : rows.at(0).likelihood->repeats) {
    tokens[{sum.from, sum.to}] = sum.tokens;
  }
  EXPECT_EQ((tokens[{0, 0}]), 4);          // a b c d for the first time
  EXPECT_EQ((tokens[{1, 64}]), 69 + 299);  // c and d again
  EXPECT_EQ((tokens[{64, 256}]), 1);       // a after 72
  EXPECT_EQ((tokens[{256, 1024}]), 1);     // b after 372
}

TEST_F(PerplexityTest, StridedWindowsSeeMoreThanPlainOnes) {
  const std::string part = random_letters(60, 4);
  std::string text;
  for (int i = 0; i < 8; ++i) text += part;
  write(text);
  const auto task =
      make({{"tokens", {"0", "test"}}, {"protocol", {"window(121),stride(121,30)", "test"}}});
  double window = 0, stride = 0;
  for (const ItemRow& row : run_all(*task, kFullWindow)) {
    const std::string protocol = std::get<std::string>(row.item.cell.front().second);
    (protocol == "window(121)" ? window : stride) += row.likelihood->nll;
  }
  EXPECT_LT(stride, 0.7 * window);
}

TEST_F(PerplexityTest, LimitsTokensAndNamesItsData) {
  write(random_letters(5000, 5));
  const auto task = make({{"tokens", {"1k", "test"}}});
  const std::vector<ItemRow> rows = run_all(*task, 50);
  EXPECT_EQ(rows.at(0).likelihood->tokens, 1024);
  EXPECT_EQ(*rows.at(0).likelihood->text_bytes, 1024);
  ASSERT_EQ(task->data().size(), 1U);
  EXPECT_EQ(task->data()[0].sha256.size(), 64U);
  EXPECT_FALSE(task->has(Condition::kOracle));
}

TEST_F(PerplexityTest, FeedsAreSeriesOfTheirOwn) {
  write(random_letters(600, 6));
  const auto task = make({{"context", {"200", "test"}},
                          {"tokens", {"0", "test"}},
                          {"feed", {"decode,prefill", "test"}},
                          {"decode_tokens", {"300", "test"}}});
  std::map<std::string, std::vector<ItemRow>> rows;
  std::set<std::string> keys;
  for (ItemRow& row : run_all(*task, 100)) {
    keys.insert(item_key("m", Condition::kContext, "perplexity", row.item));
    const bool decode = row.item.cell.back() == std::pair<std::string, Level>{"feed", "decode"};
    EXPECT_EQ(row.item.cell.size(), decode ? 3U : 2U) << "keys of prefill are what they were";
    rows[decode ? "decode" : "prefill"].push_back(std::move(row));
  }
  EXPECT_EQ(keys.size(), 6U);
  ASSERT_EQ(rows["prefill"].size(), 4U);
  ASSERT_EQ(rows["decode"].size(), 2U) << "300 tokens in streams of 199";
  const LikelihoodResult& prefill = *rows["prefill"][0].likelihood;
  const LikelihoodResult& decode = *rows["decode"][0].likelihood;
  EXPECT_EQ(decode.tokens, prefill.tokens);
  EXPECT_NEAR(decode.nll, prefill.nll + 199 * kDecodingNats, 1e-9) << "each token was decoded";
  EXPECT_EQ(rows["decode"][1].likelihood->tokens, 101);
  EXPECT_EQ(rows["decode"][0].seconds.prefill_tokens, 1) << "the BOS";
  EXPECT_EQ(rows["decode"][0].n_prompt, 200);
}

TEST_F(PerplexityTest, ContextsBeyondTheModelsOnRequest) {
  write(random_letters(10000, 7));
  const auto task = make({{"context", {"9k", "test"}}, {"beyond", {"on", "test"}}});
  const std::vector<ItemRow> rows = run_all(*task, 50);
  EXPECT_EQ(rows.at(0).likelihood->tokens, 9 * 1024 - 1);
  EXPECT_EQ(rows.at(0).likelihood->positions.back().from, 8192);
  EXPECT_EQ(task->lengths(), std::vector<int64_t>{9 * 1024});
}

TEST_F(PerplexityTest, RejectsWhatCannotRun) {
  write("some text");
  EXPECT_THROW(make({{"feed", {"decoding", "test"}}}), Error);
  EXPECT_THROW(make({{"context", {"9k", "test"}}}), Error) << "longer than the model's context";
  EXPECT_THROW(make({{"context", {"1", "test"}}}), Error);
  EXPECT_THROW(make({{"tokns", {"1", "test"}}}), Error);
  write("  \n ");
  EXPECT_THROW(make({}), Error);
  std::filesystem::remove(path_);
  EXPECT_THROW(make({}), Error);
}

}  // namespace
}  // namespace kvg
