#include "evals/tokens.h"

#include "base/error.h"
#include "base/random.h"
#include "evals/fakes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using testing::ElementsAre;

// A tokenizer in SentencePiece's manner: a space in front of every text, words with their space as
// pieces, everything else as byte pieces.
class WordTokenizer : public ByteTokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> tokens;
    const std::string all = " " + std::string(text);
    for (size_t i = 0; i < all.size();) {
      if (all.compare(i, 4, " the") == 0) {
        tokens.push_back(300);
        i += 4;
      } else if (all[i] == ' ') {
        tokens.push_back(301);
        ++i;
      } else {
        tokens.push_back(static_cast<unsigned char>(all[i++]));
      }
    }
    return tokens;
  }
  std::string piece(int32_t token) const override {
    if (token == 300) return "\xE2\x96\x81the";
    if (token == 301) return "\xE2\x96\x81";
    constexpr std::string_view kHex = "0123456789ABCDEF";
    return std::string("<0x") + kHex[static_cast<size_t>(token / 16)] +
           kHex[static_cast<size_t>(token % 16)] + ">";
  }
};

TEST(Tokens, ContinuationHasNoExtraSpace) {
  const WordTokenizer tokenizer;
  EXPECT_THAT(encode_after(tokenizer, " the"), ElementsAre(300));
  EXPECT_THAT(encode_after(tokenizer, "a"), ElementsAre('a'));
  EXPECT_THAT(encode_after(tokenizer, "\nthe"), ElementsAre('\n', 't', 'h', 'e'));
  Random random(5);
  for (int trial = 0; trial < 100; ++trial) {
    std::string text;
    for (int i = 0; i < 30; ++i)
      text += random.below(3) == 0 ? " the" : random.below(2) == 0 ? "\n" : "x ";
    const size_t newline = text.find('\n', 5);
    if (newline == std::string::npos) continue;
    std::vector<int32_t> joined = tokenizer.encode(text.substr(0, newline));
    for (const int32_t token : encode_after(tokenizer, text.substr(newline)))
      joined.push_back(token);
    EXPECT_EQ(joined, tokenizer.encode(text));
  }
}

TEST(Tokens, ByteEndsSpellTheText) {
  const WordTokenizer tokenizer;
  const std::string text = "on the road\nthe \xC3\xBC";
  const std::vector<int32_t> tokens = tokenizer.encode(text);
  const std::vector<int64_t> ends = byte_ends(tokenizer, tokens, text);
  ASSERT_EQ(ends.size(), tokens.size());
  EXPECT_EQ(ends.front(), 0) << "the space before the text has no bytes of it";
  EXPECT_EQ(ends.back(), std::ssize(text));
  EXPECT_EQ(ends[3], 6) << "o, n, then ' the' ends at byte 6";
  EXPECT_TRUE(byte_ends(tokenizer, tokens, text + "xy").empty());
  EXPECT_THAT(byte_ends(ByteTokenizer(), ByteTokenizer().encode("abc"), "abc"),
              ElementsAre(1, 2, 3));
}

TEST(Tokens, SpansCoverTheBytes) {
  const std::vector<int64_t> ends = {3, 5, 9, 10};
  EXPECT_EQ(token_span(ends, 0, 3), (std::pair<int64_t, int64_t>{0, 1}));
  EXPECT_EQ(token_span(ends, 2, 6), (std::pair<int64_t, int64_t>{0, 3}));
  EXPECT_EQ(token_span(ends, 3, 5), (std::pair<int64_t, int64_t>{1, 2}));
  EXPECT_EQ(token_span(ends, 9, 10), (std::pair<int64_t, int64_t>{3, 4}));
  EXPECT_EQ(token_span(ends, 4, 99), (std::pair<int64_t, int64_t>{1, 4}));
}

TEST(Tokens, BosIsRequired) {
  class NoBos : public ByteTokenizer {
    int32_t bos() const override { return -1; }
  };
  EXPECT_THROW(with_bos(NoBos(), std::vector<int32_t>{1}), Error);
  EXPECT_THAT(with_bos(ByteTokenizer(), std::vector<int32_t>{1}), ElementsAre(256, 1));
}

}  // namespace
}  // namespace kvg
