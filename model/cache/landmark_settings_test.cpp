// What the arguments of `landmark` lead to: schedules, slow dimensions, bytes, errors.

#include "model/cache/landmark_settings.h"

#include "model/cache/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

TEST(LandmarkSchedule, GridIsAFunctionOfThePosition) {
  LandmarkSettings settings;
  settings.window = 13;
  settings.block = 5;
  for (int64_t t = 0; t < 60; ++t) {
    const std::vector<LandmarkBlock> one = landmark_blocks(settings, t, t + 1);
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].visible, std::max<int64_t>(0, t / 5 * 5 - 8));
    EXPECT_EQ(landmark_evicted(settings, t + 1), one[0].visible);
    for (const LandmarkBlock& block : landmark_blocks(settings, t, t + 23)) {
      for (int64_t position = block.begin; position < block.end; ++position) {
        EXPECT_EQ(block.visible, landmark_blocks(settings, position, position + 1)[0].visible);
      }
    }
  }
}

TEST(LandmarkSchedule, PublishedBlocksStartWithTheCall) {
  LandmarkSettings settings;
  settings.window = 6;
  settings.block = 4;
  settings.schedule = LandmarkSchedule::calls;
  const std::vector<LandmarkBlock> blocks = landmark_blocks(settings, 5, 15);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].begin, 5);
  EXPECT_EQ(blocks[0].visible, 0);  // attends first, evicts afterwards
  EXPECT_EQ(blocks[1].visible, 3);
  EXPECT_EQ(blocks[2].end, 15);
  EXPECT_EQ(landmark_evicted(settings, 15), 9);
  EXPECT_EQ(landmark_blocks(settings, 15, 16)[0].visible, 10);  // decode evicts first
}

TEST(LandmarkBand, SlowDimensions) {
  using testing::ElementsAre;
  EXPECT_THAT(slow_dimensions(8, true, LandmarkBand::pairs), ElementsAre(2, 3, 6, 7));
  EXPECT_THAT(slow_dimensions(8, false, LandmarkBand::pairs), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(slow_dimensions(8, true, LandmarkBand::dims), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(slow_dimensions(2, true, LandmarkBand::pairs), ElementsAre(0, 1));
  for (const bool half_split : {true, false}) {
    EXPECT_THAT(slow_dimensions(4, half_split, LandmarkBand::all), ElementsAre(0, 1, 2, 3));
  }
}

// Bytes.

TEST(LandmarkBytes, PublishedTable) {
  struct Row {
    int kv_heads, head_dim;
    int64_t window, exact, summary, total;
  };
  for (const Row& row :
       {Row{2, 64, 128, 32, 32, 111552}, Row{2, 64, 256, 64, 64, 223104},
        Row{2, 64, 256, 0, 0, 132352}, Row{8, 64, 256, 64, 64, 886656},
        Row{8, 128, 128, 32, 32, 885696}, Row{8, 128, 256, 64, 64, 1771392},
        Row{8, 128, 512, 128, 128, 3542784}, Row{8, 128, 256, 128, 128, 2492928}}) {
    const std::string method = "landmark(semantics=reference,window=" + std::to_string(row.window) +
                               ",exact=" + std::to_string(row.exact) +
                               ",summary=" + std::to_string(row.summary) + ")";
    const CacheGeometry geometry{32, 32, row.kv_heads, row.head_dim, true};
    const CacheBytes bytes = make_policy(Method::parse(method))->bytes_per_layer(geometry, 1 << 20);
    EXPECT_EQ(bytes.total(), row.total) << method;
    EXPECT_EQ(bytes.keys, 2 * row.kv_heads * row.head_dim * (row.window + row.exact + row.summary));
    EXPECT_EQ(bytes.keys, bytes.values);
  }
}

TEST(LandmarkBytes, FormulaEqualsTheState) {
  const auto ops = make_cpu_ops(1);
  for (const std::string arguments :
       {"", "semantics=reference", "arithmetic=bf16", "count_bias=off", "state=published",
        "exact=0", "summary=0", "semantics=reference,state=lean,arithmetic=f32", "lf_band=all",
        "semantics=reference,lf_band=all"}) {
    for (const std::string codec :
         {"f32", "bf16", "fp8", "int8", "bank:eden(bits=3)", "eden(bits=1)"}) {
      const auto policy = make_policy(Method::parse(
          "landmark(window=32" + (arguments.empty() ? "" : "," + arguments) + ")+" + codec));
      const CacheGeometry geometry{1, 4, 2, 16, true};
      const auto layer = policy->make_layer(*ops, geometry, 0, 100);
      EXPECT_EQ(layer->bytes(), policy->bytes_per_layer(geometry, 100))
          << arguments << " " << codec;
    }
  }
}

TEST(LandmarkBytes, LeanState) {
  // 256 + 64 tokens of 4096 B; averages as f32, keys in half of the dimensions; gates, masks,
  // stamps.
  const CacheBytes bytes =
      make_policy(Method::parse("landmark()"))->bytes_per_layer({32, 32, 8, 128, true}, 1 << 20);
  EXPECT_EQ(bytes.keys, 320 * 2048 + 64 * 8 * 64 * 4);
  EXPECT_EQ(bytes.values, 320 * 2048 + 64 * 8 * 128 * 4);
  EXPECT_EQ(bytes.scales, 0);
  EXPECT_EQ(bytes.metadata, 4 * 256 + 128 + 8 * 64 + 8 * 64);
  const CacheBytes whole = make_policy(Method::parse("landmark(lf_band=all)"))
                               ->bytes_per_layer({32, 32, 8, 128, true}, 1 << 20);
  EXPECT_EQ(whole.keys, 320 * 2048 + 64 * 8 * 128 * 4);
  EXPECT_EQ(whole.total() - whole.keys, bytes.total() - bytes.keys);
}

TEST(LandmarkArguments, ThatDoNotFitAreNamed) {
  const auto message = [](const std::string& method) -> std::string {
    try {
      make_policy(Method::parse(method));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message("landmark(window=8,block=9)"), testing::HasSubstr("block: found 9"));
  EXPECT_THAT(message("landmark(exact=2,sinks=3)"), testing::HasSubstr("sinks: found 3"));
  EXPECT_THAT(message("landmark(window=0)"), testing::HasSubstr("window"));
  EXPECT_THAT(message("landmark(routing=torhc)"), testing::HasSubstr("did you mean 'torch'"));
  EXPECT_EQ(message("landmark(semantics=reference,window=8,block=512)"), "");
  EXPECT_EQ(message("landmark(window=1,exact=0,summary=0)"), "");
}

}  // namespace
}  // namespace kvg
