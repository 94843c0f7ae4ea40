#include "evals/retention.h"

#include "base/error.h"
#include "evals/fakes.h"
#include "evals/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr ProbeSettings kProbe = {true, 0.1};

TEST(ValuePlaces, AreTheWordsOfTheAnswer) {
  const ByteTokenizer tokenizer;
  const auto places = [&](const std::string& before, const std::string& evidence,
                          const std::string& answer) {
    const std::vector<int32_t> prompt = tokenizer.encode(before + evidence + " And more 42.");
    const auto begin = std::ssize(before);
    return value_places(tokenizer, prompt, {begin, begin + std::ssize(evidence)}, answer);
  };
  EXPECT_EQ(places("So 42. ", "Port 42, said twice: 42.", "42"),
            (std::vector<TokenSpan>{{12, 14}, {28, 30}}));
  EXPECT_EQ(places("", "[12:42] 4242 is not it, nor 42a; 42 is", "42"),
            (std::vector<TokenSpan>{{4, 6}, {33, 35}}));
  EXPECT_EQ(places("xx", "It is New Oslo.", "New Oslo"), (std::vector<TokenSpan>{{8, 16}}));
  EXPECT_EQ(places("xx", "forty-two", "42"), (std::vector<TokenSpan>{{2, 11}})) << "all of it";
}

// A watch as a model with three layers would fill it: the answer has two tokens.
class RetentionTest : public testing::Test {
 protected:
  RetentionTest() : probe_({{3, 5}, {9, 11}}, 20, kProbe) {}

  void see(int64_t position, std::vector<AttentionWatch::Layer> layers) {
    probe_.watch()->queries.push_back({position, std::move(layers)});
  }

  RetentionProbe probe_;
};

TEST_F(RetentionTest, TakesTheBestPlaceOfEachLayer) {
  EXPECT_EQ(probe_.watch()->from, 19);
  EXPECT_EQ(probe_.watch()->positions, (std::vector<int64_t>{3, 4, 9, 10}));
  see(19, {{{true, false, false, true}, 0.25},     // half of either place
           {{false, false, true, true}, -0.5},     // the second one
           {{false, false, false, false}, 0.0}});  // nothing
  see(20, {{{true, true, true, true}, 0.0}, {{true, true, true, true}, 0.05}, {{}, 0.01}});
  see(21, {{{true, true, true, true}, 0.9}, {{}, 0.9}, {{}, 0.9}});  // after the answer
  const RetentionResult result = probe_.result(2);
  EXPECT_EQ(result.value_tokens, 2);
  EXPECT_EQ(result.stored_share, (std::vector<double>{0.5, 1, 0}));
  EXPECT_TRUE(result.stored);
  EXPECT_NEAR(result.read_weight, (0.25 + 0.05) / 2, 1e-12);
  EXPECT_TRUE(result.read);
}

TEST_F(RetentionTest, HalvesOfTwoPlacesAreNoValue) {
  see(19, {{{true, false, false, true}, 0.05}});
  const RetentionResult result = probe_.result(1);
  EXPECT_FALSE(result.stored);
  EXPECT_FALSE(result.read) << "below the threshold";
  EXPECT_THROW((void)probe_.result(2), std::logic_error) << "an answer that nobody watched";
}

TEST_F(RetentionTest, IsPartOfTheRecord) {
  see(19, {{{true, true, false, false}, 0.5}, {{true, false, false, false}, 0.25}});
  ItemRow row;
  row.answer.emplace();
  EXPECT_THAT(item_json(row), testing::Not(testing::HasSubstr("retention")));
  row.answer->retention = probe_.result(1);
  EXPECT_THAT(item_json(row),
              testing::HasSubstr(R"("retention":{"layers":2,"read":true,"read_weight":0.5,)"
                                 R"("stored":true,"stored_share":[1.0,0.5],"value_tokens":2})"));
}

}  // namespace
}  // namespace kvg
