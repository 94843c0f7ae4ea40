#include "reports/text.h"

#include "base/random.h"
#include "reports/labels.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace kvg::reports {
namespace {

TEST(Text, ReplacesIllFormedUtf8) {
  EXPECT_EQ(valid_utf8("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(valid_utf8("a\xFF"
                       "b"),
            "a\uFFFDb");
  EXPECT_EQ(valid_utf8("\xC3"), "\uFFFD");                           // cut off
  EXPECT_EQ(valid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");                 // overlong
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");       // surrogate
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80").substr(0, 3), "\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(valid_utf8(std::string("a\0b\x1B\n\t", 6)),
            "a\uFFFD"
            "b\uFFFD\n\t");
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

// nlohmann-json refuses ill-formed UTF-8, so it is the judge.
TEST(Text, RandomBytesBecomeValidUtf8AndSafeMarkup) {
  Random random(5);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int i = 0; i < 60; ++i) bytes += static_cast<char>(random.below(256));
    EXPECT_NO_THROW(nlohmann::json(valid_utf8(bytes)).dump());
    const std::string html = escape_html(bytes);
    EXPECT_EQ(html.find_first_of("<>\"'"), std::string::npos);
    EXPECT_NO_THROW(nlohmann::json(shorten(bytes, 7)).dump());
    EXPECT_EQ(markdown_cell(bytes).find('\n'), std::string::npos);
  }
}

TEST(Text, Escapes) {
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
  EXPECT_EQ(markdown_cell("a|b\n*c*"), "a\\|b \\*c\\*");
  EXPECT_EQ(shorten("gr\xC3\xBC\xC3\x9F", 3), "gr\xC3\xBC...");
  EXPECT_EQ(shorten("abc", 3), "abc");
}

TEST(Text, Numbers) {
  EXPECT_EQ(fixed(-0.0004, 3), "0.000");
  EXPECT_EQ(fixed(-1.25, 1), "\u22121.2");
  EXPECT_EQ(fixed(std::nan(""), 1), "n/a");
  EXPECT_EQ(signed_fixed(0.26, 1), "+0.3");
  EXPECT_EQ(signed_fixed(0.0, 1), "0.0");
  EXPECT_EQ(percent(0.975), "97.5\u00A0%");
  EXPECT_EQ(thousands(1771392), "1,771,392");
  EXPECT_EQ(thousands(-999), "-999");
  EXPECT_EQ(thousands(-1000), "-1,000");
  EXPECT_EQ(human_bytes(1771392), "1.77\u00A0MB");
  EXPECT_EQ(human_bytes(999), "999\u00A0B");
  EXPECT_EQ(human_bytes(999600), "1.00\u00A0MB");
  EXPECT_EQ(human_bytes(41.9e9), "41.9\u00A0GB");
  EXPECT_EQ(p_value(0.0004),
            "<\u00A0"
            "0.001");
}

TEST(Labels, ShortAndUnique) {
  const std::vector<std::string> methods = {"full",
                                            "landmark(window=256,exact=64)+bank:eden(bits=4)",
                                            "window(window=60)",
                                            "window(window=124)",
                                            "full+eden(bits=2,scale=s1)",
                                            "sinks(sinks=4,window=60)+bf16"};
  EXPECT_EQ(short_labels(methods),
            (std::vector<std::string>{"full", "landmark + bank eden 4-bit", "window(window=60)",
                                      "window(window=124)", "full + eden 2-bit s1", "sinks"}));
}

}  // namespace
}  // namespace kvg::reports
