#include "base/aligned.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/names.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/sha256.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

TEST(Error, NamesWhereKeyFoundAndExpectedOnOneLine) {
  const Error error("a.yaml", "window", "0\nx", "1 or more");
  EXPECT_STREQ(error.what(), "a.yaml: window: found 0?x, expected 1 or more");
  EXPECT_STREQ(Error("f", "", "", "a file").what(), "f: expected a file");
}

TEST(Names, SuggestsTypingErrorsOnly) {
  const std::vector<std::string> names = {"full", "window", "sinks", "landmark"};
  EXPECT_EQ(nearest_name("lankmark", names), "landmark");
  EXPECT_EQ(nearest_name("widow", names), "window");
  EXPECT_EQ(nearest_name("zzzzzzzzz", names), "");
  EXPECT_EQ(did_you_mean("sink", names), " (did you mean 'sinks'?)");
}

TEST(Names, SplitAndTrim) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(trim("  a b\t"), "a b");
}

// Known-answer tests of the Random123 distribution.
TEST(Philox, KnownAnswers) {
  const auto zero = philox4x32(0, 0);
  EXPECT_EQ(zero, (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const auto ones = philox4x32(~0ULL, ~0ULL, ~0ULL);
  EXPECT_EQ(ones, (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Random, UniformAndNormalMoments) {
  Random random(7);
  double sum = 0, square = 0, uniform = 0;
  constexpr int n = 200000;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    sum += x;
    square += x * x;
    uniform += random.uniform();
  }
  EXPECT_NEAR(sum / n, 0, 4 / std::sqrt(n));
  EXPECT_NEAR(square / n, 1, 4 * std::sqrt(2.0 / n));
  EXPECT_NEAR(uniform / n, 0.5, 4 * std::sqrt(1.0 / 12 / n));
}

TEST(Random, BelowCoversTheRange) {
  Random random(3);
  std::vector<int> counts(7);
  for (int i = 0; i < 7000; ++i) ++counts[random.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

// FIPS 180-2 examples.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_THROW(sha256_file("/nonexistent/file"), Error);
}

TEST(Aligned, PadsByCharactersAndTrims) {
  EXPECT_EQ(align_columns({{"name", "n"}, {"\u00e9", "12"}}, {true, false}),
            (std::vector<std::string>{"name   n", "\u00e9     12"}));
  EXPECT_EQ(align_columns({{"a", ""}, {"long", ""}}, {true, true}),
            (std::vector<std::string>{"a", "long"}));
}

TEST(Memory, RefusesWhatDoesNotFit) {
  EXPECT_GT(available_memory(), 1u << 20);
  EXPECT_NO_THROW(require_memory("a byte", 1));
  EXPECT_THROW(require_memory("an exabyte", 1ULL << 60), Error);
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1771392), "1.8 MB");
  EXPECT_EQ(format_bytes(41943040000), "41.9 GB");
}

TEST(Progress, Durations) {
  EXPECT_EQ(format_duration(12.4), "12s");
  EXPECT_EQ(format_duration(200), "3m20s");
  EXPECT_EQ(format_duration(3720), "1h02m");
}

}  // namespace
}  // namespace kvg
