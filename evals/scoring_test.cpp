#include "evals/scoring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

TEST(Scoring, PasskeyRule) {
  EXPECT_EQ(first_number(" 12345. Remember"), "12345");
  EXPECT_EQ(first_number("abc 7x8"), "7");
  EXPECT_EQ(first_number("none"), "");
  EXPECT_TRUE(same_number("00042", "42"));
  EXPECT_TRUE(same_number("0", "000"));
  EXPECT_FALSE(same_number("123456", "12345"));
  EXPECT_FALSE(same_number("", ""));
  EXPECT_FALSE(same_number("12a", "12"));
}

TEST(Scoring, FirstSentence) {
  EXPECT_EQ(first_sentence(" Berlin. It is big."), "Berlin");
  EXPECT_EQ(first_sentence("\n\n Paris\nLondon"), "Paris");
  EXPECT_EQ(first_sentence("3.14 is pi. Yes"), "3.14 is pi");
  EXPECT_EQ(first_sentence("no end  "), "no end");
  EXPECT_EQ(first_sentence(""), "");
  EXPECT_FALSE(sentence_complete(" not "));
  EXPECT_FALSE(sentence_complete("\n"));
  EXPECT_TRUE(sentence_complete(" not stated."));
  EXPECT_TRUE(sentence_complete(" Berlin\n"));
  EXPECT_TRUE(sentence_complete(" 12! x"));
}

TEST(Scoring, Normalisation) {
  EXPECT_EQ(normalize_answer(" The Cello,"), "cello");
  EXPECT_EQ(normalize_answer("a an  the Harp"), "harp");
  EXPECT_EQ(normalize_answer("Acorn Press"), "acorn press");
  EXPECT_EQ(normalize_answer("atlas-01 -"), "atlas-01");
  EXPECT_EQ(normalize_answer("Z\xC3\xBCrich!"), "z\xC3\xBCrich");
  EXPECT_EQ(normalize_answer("..."), "");
}

TEST(Scoring, Extraction) {
  const auto number = [](std::string_view text) {
    return extract_answer(text, AnswerKind::kNumber, "not stated", 1);
  };
  EXPECT_EQ(number(" 54321. Next"), "54321");
  EXPECT_EQ(number(" locker 54321, then 7"), "54321");
  EXPECT_EQ(number(" not stated."), "not stated");
  EXPECT_EQ(number(" Not stated anywhere."), "not stated");
  EXPECT_EQ(number(" not statedly 5"), "5");
  EXPECT_EQ(number(" nobody knows. 5"), "");
  const auto text = [](std::string_view output, size_t words) {
    return extract_answer(output, AnswerKind::kText, "not stated", words);
  };
  EXPECT_EQ(text(" the cello.", 1), "cello");
  EXPECT_EQ(text(" Berlin, where it rains", 1), "berlin");
  EXPECT_EQ(text(" Acorn Press since May", 2), "acorn press");
  EXPECT_EQ(text("", 1), "");
}

TEST(Scoring, LexicalOverlap) {
  EXPECT_THAT(content_words("The port of the Server, and its Port!"),
              testing::ElementsAre("port", "server"));
  // {port, server, listens} and {port, server}: 2 of 3.
  EXPECT_DOUBLE_EQ(word_jaccard("server listens on port", "the port of the server"), 2.0 / 3.0);
  EXPECT_EQ(word_jaccard("the of", "a an"), 0);
  EXPECT_EQ(word_jaccard("Where does it live?", "a small house was bought by"), 0);
  // ROUGE-1 precision: the, cat of (the the cat) are covered by (the cat sat).
  EXPECT_DOUBLE_EQ(rouge1_precision("the the cat", "The cat sat."), 2.0 / 3.0);
  EXPECT_EQ(rouge1_precision("", "x"), 0);
  EXPECT_EQ(overlap_bin(0), "0");
  EXPECT_EQ(overlap_bin(0.2), "(0,.2]");
  EXPECT_EQ(overlap_bin(0.5), "(.2,.5]");
  EXPECT_EQ(overlap_bin(0.51), ">.5");
}

}  // namespace
}  // namespace kvg
