#include "model/method.h"

#include "base/error.h"
#include "base/random.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::HasSubstr;

std::string canonical_of(const std::string& text) { return Method::parse(text).canonical(); }

std::string error_of(const std::string& text) {
  try {
    Method::parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Method, CanonicalFormsReadBackEqual) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"full", "full"},
      {" full ( ) ", "full"},
      {"full+f32", "full+f32"},
      {"full+bf16", "full"},
      {"sinks( window=60 , sinks = 4 )", "sinks(sinks=4,window=60)"},
      {"sinks", "sinks(sinks=4,window=380)"},
      {"window(window=4k)", "window(window=4096)"},
      {"full+eden(bits=2)", "full+eden(bits=2)"},
      {"full+eden", "full+eden(bits=4)"},
      {"full+drive", "full+eden(bits=1)"},
      {"full+turboquant_mse(bits=3)", "full+eden(bits=3,scale=s1)"},
      {"full+fp8(scale=vector)", "full+fp8(scale=vector)"},
      {"full+int8", "full+int8"},
      {"sinks+bank:fp8", "sinks(sinks=4,window=380)+bank:fp8"},
      {"sinks+bank:fp8+window:fp8", "sinks(sinks=4,window=380)+fp8"},
      {"sinks+window:eden(bits=4,rotation=haar)+bank:f32",
       "sinks(sinks=4,window=380)+window:eden(bits=4,rotation=haar)+bank:f32"},
      {"random(window=60,bank=32,seed=7)", "random(window=60,bank=32,seed=7)"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(canonical_of(text), expected);
    EXPECT_EQ(canonical_of(expected), expected);
  }
}

TEST(Method, ErrorsNameTheKeyAndSuggest) {
  EXPECT_THAT(error_of("lankmark"), HasSubstr("did you mean 'landmark'?"));
  EXPECT_THAT(error_of("window(window=0)"), HasSubstr("found '0', expected a whole number in 1.."));
  EXPECT_THAT(error_of("window(widow=3)"), HasSubstr("did you mean 'window'?"));
  EXPECT_THAT(error_of("full+eden(bits=5)"), HasSubstr("eden.bits: found '5'"));
  EXPECT_THAT(error_of("full+eden(scale=unbiasd)"), HasSubstr("did you mean 'unbiased'?"));
  EXPECT_THAT(error_of("full+fp9"), HasSubstr("did you mean 'fp8'?"));
  EXPECT_THAT(error_of("full+int9"), HasSubstr("did you mean 'int8'?"));
  EXPECT_THAT(error_of("full+fp8+bf16"), HasSubstr("one codec a place"));
  EXPECT_THAT(error_of("window(window=1,window=2)"), HasSubstr("the key twice"));
  EXPECT_THAT(error_of("window(window=1"), HasSubstr("name(key=value,...)"));
  EXPECT_THAT(error_of("window)"), HasSubstr("balanced parentheses"));
  EXPECT_THAT(error_of(""), HasSubstr("a name"));
  EXPECT_THAT(error_of("full(x)"), HasSubstr("key=value"));
  EXPECT_THAT(error_of(std::string(5000, 'x')), HasSubstr("at most 1000"));
}

TEST(Method, ListsSplitOutsideParentheses) {
  const std::vector<Method> methods =
      parse_methods("full, sinks(sinks=4,window=60),window(window=9)");
  ASSERT_EQ(methods.size(), 3u);
  EXPECT_EQ(methods[1].canonical(), "sinks(sinks=4,window=60)");
  EXPECT_THROW(parse_methods("full,,window"), Error);
}

// Whatever the text, the parser either throws Error or returns a method whose canonical form parses
// to itself.
TEST(Method, FuzzedTextNeverCrashes) {
  const std::vector<std::string> seeds = {
      "landmark(window=256,exact=64,summary=64)+bank:eden(bits=4,scale=norm)",
      "sinks(sinks=4,window=380)+fp8(scale=vector)", "full+turboquant_mse(bits=2)"};
  const std::string alphabet = "()=,+:.abekmw0159- \t\n\x80";
  Random random(20261122);
  for (int i = 0; i < 20000; ++i) {
    std::string text = seeds[random.below(seeds.size())];
    for (uint64_t edits = random.below(4) + 1; edits > 0; --edits) {
      const size_t at = random.below(text.size() + 1);
      const char c = alphabet[random.below(alphabet.size())];
      switch (random.below(3)) {
        case 0:
          text.insert(at, 1, c);
          break;
        case 1:
          if (at < text.size()) text[at] = c;
          break;
        default:
          text.erase(at, random.below(6));
      }
    }
    try {
      const std::string canonical = Method::parse(text).canonical();
      EXPECT_EQ(Method::parse(canonical).canonical(), canonical) << text;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace kvg
