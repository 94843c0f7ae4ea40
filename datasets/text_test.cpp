#include "datasets/text.h"

#include "base/error.h"
#include "base/sha256.h"
#include "datasets/generated/grammar.h"
#include "datasets/generated/text.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace kvg {
namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

TEST(GeneratedText, IsDecidedByItsSeed) {
  EXPECT_EQ(generated_text(50000, 1), generated_text(50000, 1));
  EXPECT_NE(generated_text(50000, 1), generated_text(50000, 2));
  const std::string longer = generated_text(100000, 1);
  EXPECT_TRUE(longer.starts_with(generated_text(50000, 1)));
  EXPECT_GE(longer.size(), 100000U);
}

// Raise kGeneratedTextVersion when this changes: published numbers name the version.
TEST(GeneratedText, VersionOneIsThisText) {
  EXPECT_EQ(kGeneratedTextVersion, 1);
  EXPECT_EQ(sha256(generated_text(200000, 0)).substr(0, 16), "9ad772eee7be1a1f");
}

TEST(GeneratedText, HasEveryKindOfDocument) {
  const std::string text = generated_text(300000, 3);
  for (const char* mark : {"\" asked ", "\n## ", "] ", "def ", "#include", "function ", "|---|",
                           " INFO ", "\n[", "1. "}) {
    EXPECT_NE(text.find(mark), std::string::npos) << mark;
  }
  EXPECT_EQ(text.find('{' + std::string("verb")), std::string::npos) << "no slot is left unfilled";
  size_t longest = 0, start = 0;
  for (size_t end = text.find('\0'); end != std::string::npos; end = text.find('\0', start)) {
    EXPECT_GT(end - start, 100U);
    longest = std::max(longest, end - start);
    start = end + 1;
  }
  EXPECT_LT(longest, 8000U);
}

// Repetition would make eviction easy: of eight words in a row, hardly any occur twice in a
// megabyte.
TEST(GeneratedText, HardlyRepeatsItself) {
  const std::vector<std::string> words = words_of(generated_text(1 << 20, 4));
  std::map<std::string, int> seen;
  for (size_t i = 0; i + 8 <= words.size(); ++i) {
    std::string gram;
    for (size_t k = 0; k < 8; ++k) gram += words[i + k] + " ";
    ++seen[gram];
  }
  size_t repeated = 0;
  for (const auto& [gram, count] : seen) repeated += count > 1 ? static_cast<size_t>(count) : 0;
  EXPECT_LT(static_cast<double>(repeated) / static_cast<double>(words.size()), 0.01);
}

TEST(Grammar, Inflects) {
  EXPECT_EQ(inflect("carry", "past"), "carried");
  EXPECT_EQ(inflect("ask for", "past"), "asked for");
  EXPECT_EQ(inflect("pick up", "ing"), "picking up");
  EXPECT_EQ(inflect("put away", "done"), "put away");
  EXPECT_EQ(inflect("stop", "ing"), "stopping");
  EXPECT_EQ(inflect("tie", "ing"), "tying");
  EXPECT_EQ(inflect("take", "ing"), "taking");
  EXPECT_EQ(inflect("agree", "ing"), "agreeing");
  EXPECT_EQ(inflect("draw", "done"), "drawn");
  EXPECT_EQ(inflect("knife", "plural"), "knives");
  EXPECT_EQ(inflect("brush", "plural"), "brushes");
  EXPECT_EQ(inflect("diary", "plural"), "diaries");
  EXPECT_EQ(inflect("valley", "plural"), "valleys");
  EXPECT_THROW(inflect("carry", "pst"), Error);
  EXPECT_EQ(fix_articles("a apple, a hour, a uniform and A old axe"),
            "an apple, an hour, a uniform and An old axe");
}

TEST(Grammar, RejectsWhatIsWrong) {
  const auto error = [](const std::string& yaml) -> std::string {
    try {
      Grammar::parse(yaml, "g.yaml");
    } catch (const Error& problem) {
      return problem.what();
    }
    return "no error";
  };
  EXPECT_EQ(error("words: {noun: [axe]}\nrules: {np: ['the {noun}']}"), "no error");
  EXPECT_THAT(
      error("words: {noun: [axe]}\nrules: {np: ['the {nuon}']}"),
      testing::AllOf(testing::HasSubstr("g.yaml:2"), testing::HasSubstr("did you mean 'noun'")));
  EXPECT_THAT(error("words: {noun: [axe]}\nrules: {np: ['the {noun:plurl}']}"),
              testing::HasSubstr("plurl"));
  EXPECT_THAT(error("words: {noun: [axe]}\nrules: {np: ['the {noun']}"),
              testing::HasSubstr("closing brace"));
  EXPECT_THAT(error("words: {noun: []}\nrules: {}"), testing::HasSubstr("empty list"));
  EXPECT_THAT(error("words: {noun: [axe]}\nrules: {noun: [x]}"), testing::HasSubstr("twice"));
  EXPECT_THAT(error("words: [\n"), testing::HasSubstr("valid YAML"));
}

TEST(Text, ReadsFilesAndJoinsDocuments) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("kvg_text_" + std::to_string(getpid()) + ".txt");
  const std::string content("one\0two", 7);
  std::ofstream(file, std::ios::binary) << content;
  const Text text = load_text(file.string(), 0, 0);
  EXPECT_EQ(text.content, "one\n\ntwo");
  EXPECT_EQ(text.sha256, sha256(content));
  EXPECT_EQ(text.name, file.filename().string());
  std::ofstream(file, std::ios::binary) << " \n\t\n";
  EXPECT_THROW(load_text(file.string(), 0, 0), Error);
  std::filesystem::remove(file);
  EXPECT_THROW(load_text(file.string(), 0, 0), Error);
  EXPECT_THROW(load_text("/", 0, 0), Error);
}

TEST(Text, GeneratedIsNamedByWhatDecidesIt) {
  const Text text = load_text("generated", 5000, 7);
  EXPECT_EQ(text.name, "generated(version=1,seed=7,bytes=5000)");
  EXPECT_EQ(text.content.find('\0'), std::string::npos);
}

TEST(Text, Wikitext2ComesFromTheDataRoot) {
  const char* root = std::getenv("KVG_DATA");
  if (root == nullptr) {
    EXPECT_THROW(load_text("wikitext2", 0, 0), Error);
    GTEST_SKIP() << "KVG_DATA is not set";
  }
  const Text text = load_text("wikitext2", 0, 0);
  EXPECT_EQ(text.content.size(),
            std::filesystem::file_size(std::filesystem::path(root) / "wikitext2/wiki.test.raw"));
  EXPECT_TRUE(text.content.starts_with(" \n = Robert Boulter ="));
}

}  // namespace
}  // namespace kvg
