#include "evals/ranges.h"

#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using testing::ElementsAre;

TEST(Ranges, Counts) {
  EXPECT_EQ(parse_count("512", "test", "n"), 512);
  EXPECT_EQ(parse_count(" 4k ", "test", "n"), 4096);
  EXPECT_EQ(parse_count("1M", "test", "n"), 1048576);
  EXPECT_EQ(parse_count("0", "test", "n"), 0);
  for (const char* bad : {"", "k", "-1", "1.5", "4kk", "4 k", "0x10", "9223372036854775807k",
                          "99999999999999999999", "1e3", "+4"}) {
    EXPECT_THROW(parse_count(bad, "test", "n"), Error) << bad;
  }
}

TEST(Ranges, ListsAndRanges) {
  EXPECT_THAT(parse_counts("512,1k,2k..16k*2", "test", "n"),
              ElementsAre(512, 1024, 2048, 4096, 8192, 16384));
  EXPECT_THAT(parse_counts("3..6", "test", "n"), ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(parse_counts("10..35+10, 7", "test", "n"), ElementsAre(10, 20, 30, 7));
  EXPECT_THAT(parse_counts("1k..1k*2", "test", "n"), ElementsAre(1024));
  EXPECT_THAT(parse_counts("9223372036854775806..9223372036854775807", "test", "n"),
              ElementsAre(9223372036854775806, 9223372036854775807));
  for (const char* bad : {"", "1,", ",1", "5..3", "1..", "..4", "1..8*1", "1..8*0", "0..8*2",
                          "1..8+0", "1..1M", "1..2..3", "a..b", "1..8/2"}) {
    EXPECT_THROW(parse_counts(bad, "test", "n"), Error) << bad;
  }
}

TEST(Ranges, Numbers) {
  EXPECT_EQ(parse_number(" 0.25", "test", "x"), 0.25);
  EXPECT_EQ(parse_number("-1e-3", "test", "x"), -1e-3);
  for (const char* bad : {"", "x", "1,5", "nan", "inf", "0.5 0.6"}) {
    EXPECT_THROW(parse_number(bad, "test", "x"), Error) << bad;
  }
}

TEST(Ranges, ListsOfMethods) {
  EXPECT_THAT(split_list("full, sinks(sinks=4,window=60) ,landmark(a=1)+bank:eden(bits=4)"),
              ElementsAre("full", "sinks(sinks=4,window=60)", "landmark(a=1)+bank:eden(bits=4)"));
  EXPECT_THAT(split_list(" , "), ElementsAre());
  EXPECT_THAT(split_list("broken(a,b"), ElementsAre("broken(a,b"));
}

}  // namespace
}  // namespace kvg
