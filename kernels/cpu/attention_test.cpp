#include "kernels/cpu/attention_test_util.h"

#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

class AttentionTest : public testing::Test {
 protected:
  // Runs a case on both sets; the error by norm.
  double error(AttentionCase& c) {
    sets_.reference->attention(c.params(*sets_.reference));
    sets_.cpu->attention(c.params(*sets_.cpu));
    return c.out.error();
  }

  Sets sets_;
  Random random_{kSeed};
};

std::string shape_name(const Shape& s) {
  return std::to_string(s.rows) + " rows, " + std::to_string(s.heads) + "/" +
         std::to_string(s.kv_heads) + " heads of " + std::to_string(s.head_dim) + ", " +
         std::to_string(s.streams) + " streams, seed " + std::to_string(kSeed);
}

// Sinks, a wrapped window and the block's own keys, as a real cache gives them, over all shapes.
TEST_F(AttentionTest, AgreesWithTheReferenceForEveryShape) {
  for (const int64_t rows : {1, 3, 127, 129}) {
    for (const int head_dim : {8, 64, 128, 80}) {
      const auto codec = Codec::make({CodecKind::f32}, head_dim);
      for (const auto& [heads, kv_heads] :
           {std::tuple{2, 2}, std::tuple{4, 1}, std::tuple{16, 2}}) {
        for (const int streams : {1, 2}) {
          AttentionCase c({rows, heads, kv_heads, head_dim, streams, 1, streams == 2}, random_);
          const TestStore sinks(*codec, *codec, kv_heads, 4, c.layer, random_);
          const TestStore window(*codec, *codec, kv_heads, rows + 50, c.layer, random_);
          c.one_block(1000,
                      {{sinks.store(), 0, 4}, {window.store(), rows + 20, rows + 40, 960, 33}});
          EXPECT_LT(error(c), 2e-6) << shape_name(c.shape);
        }
      }
    }
  }
}

// Every codec, for K and V apart, next to a group of another codec: each group has its own frames.
TEST_F(AttentionTest, ReadsThroughEveryCodec) {
  std::vector<std::unique_ptr<Codec>> codecs;
  codecs.push_back(std::make_unique<ReflectingCodec>(64));
  codecs.push_back(Codec::make({CodecKind::bf16}, 64));
  codecs.push_back(Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::unit}, 64));
  codecs.push_back(Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector}, 64));
  codecs.push_back(Codec::make({CodecKind::int8}, 64));
  for (const Rotation rotation : {Rotation::hdhd, Rotation::hd, Rotation::haar}) {
    for (const int bits : {1, 2, 3, 4}) {
      codecs.push_back(Codec::make(
          {.kind = CodecKind::eden, .bits = bits, .rotation = rotation, .seed = 5}, 64));
    }
  }
  for (const int64_t rows : {1, 40}) {
    for (size_t i = 0; i < codecs.size(); ++i) {
      const Codec& a = *codecs[i];
      const Codec& b = *codecs[(i + 1) % codecs.size()];
      AttentionCase c({rows, 4, 2, 64, 2}, random_);
      const TestStore mixed(a, b, 2, 300, c.layer, random_, 0.5);
      const TestStore other(b, a, 2, 90, c.layer, random_, 0.5);
      const TestStore same(a, a, 2, 60, c.layer, random_, 0.5);
      c.one_block(280,
                  {{mixed.store(), 250, 290, 0, 0}, {other.store(), 3, 80}, {same.store(), 0, 60}});
      EXPECT_LT(error(c), 5e-6) << "codec " << i << ", " << rows << " rows, seed " << kSeed;
    }
  }
}

// A batch: a long prefill, a decode step far into a window, a sequence without history; banks with
// masks, weights and their own query frame.
TEST_F(AttentionTest, ServesABatchOfDifferentBlocks) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  for (const int streams : {1, 2}) {
    AttentionCase c({200 + 1 + 37, 8, 2, 64, streams, 2, true}, random_);
    const TestStore bank(*codec, *codec, 2, 128, c.layer, random_, 1);
    const TestStore history(*codec, *codec, 2, 1000, c.layer, random_);
    const TestStore fresh(*codec, *codec, 2, 64, c.layer, random_);
    std::vector<uint8_t> valid(128);
    std::vector<float> log_weight(128);
    for (size_t i = 0; i < valid.size(); ++i) {
      valid[i] = random_.below(3) != 0;
      log_weight[i] = static_cast<float>(2 * random_.uniform());
    }
    const AttentionGroup masked{bank.store(), 40, 128, -1, 0, valid.data(), log_weight.data(), 1};
    const AttentionGroup empty{};
    c.blocks = {{0, 200, 700, {masked, {history.store(), 900, 1000, -100, 0}}},
                {200, 1, 5000, {{history.store(), 900, 700, 4301, 256}, masked, empty}},
                {201, 37, 0, {empty, {fresh.store(), 0, 37, 0, 16}}}};
    c.blocks[0].groups[1].first_position = 100;
    EXPECT_LT(error(c), 2e-6) << streams << " streams, seed " << kSeed;
  }
}

// Decode over a cache long enough to be cut into parts, and prefill over several key tiles, with
// logits so large that every shift of the softmax matters.
TEST_F(AttentionTest, LongCachesAndLargeLogits) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  for (const int64_t rows : {1, 5, 150}) {
    AttentionCase c({rows, 4, 2, 64, 1}, random_);
    for (double& x : c.q.wide()) x *= 64;
    for (float& x : c.q.narrow()) x *= 64;
    const TestStore cache(*codec, *codec, 2, 5000, c.layer, random_);
    c.one_block(4990 - rows, {{cache.store(), 17, 4990, 0, 0}});
    // Logits near 1000 in float are known to 6e-5, which is then the relative error of weights.
    EXPECT_LT(error(c), 1e-4) << rows << " rows, seed " << kSeed;
  }
}

// A part of the slots that decode is cut into ends within a group and begins within another.
TEST_F(AttentionTest, PartsCrossGroups) {
  const auto exact = Codec::make({CodecKind::f32}, 64);
  const ReflectingCodec reflecting(64);
  AttentionCase c({2, 4, 2, 64, 2}, random_);
  const TestStore a(*exact, *exact, 2, 900, c.layer, random_, 1);
  const TestStore b(reflecting, reflecting, 2, 700, c.layer, random_, -1);
  const TestStore own(*exact, *exact, 2, 1500, c.layer, random_);
  c.one_block(5000, {{a.store(), 0, 900}, {b.store(), 300, 700}, {own.store(), 9, 1500, 3502, 0}});
  EXPECT_LT(error(c), 2e-6) << "seed " << kSeed;
}

TEST_F(AttentionTest, RowsThatCanReadNothingAreZero) {
  const auto codec = Codec::make({CodecKind::f32}, 8);
  AttentionCase c({40, 2, 1, 8, 2, 1, true}, random_);
  const TestStore cache(*codec, *codec, 1, 30, c.layer, random_);
  const std::vector<uint8_t> none(30, 0);
  c.blocks = {{0, 3, 100, {}},                                            // no group
              {3, 4, 100, {AttentionGroup{}}},                            // an empty one
              {7, 3, 100, {{cache.store(), 0, 30, -1, 0, none.data()}}},  // nothing valid
              {10, 10, 0, {{cache.store(), 0, 30, 5, 0}}},                // 5 rows before the first
              {20, 20, 95, {{cache.store(), 0, 10, 90, 8}}}};             // the window moves past
  EXPECT_LT(error(c), 2e-6);
  const auto is_zero = [&](size_t row) {
    const float* out = c.out.narrow().data() + row * 16;
    return std::all_of(out, out + 16, [](float x) { return x == 0; });
  };
  // Last block: row r at position 95 + r reads 88 + r .. 99, nothing from r = 12.
  for (size_t row = 0; row < 40; ++row) {
    const bool expected = row < 15 || row >= 32;
    EXPECT_EQ(is_zero(row), expected) << "row " << row;
  }
}

TEST_F(AttentionTest, RowsOfNoBlockAreLeftAlone) {
  const auto codec = Codec::make({CodecKind::f32}, 8);
  AttentionCase c({3, 2, 1, 8}, random_);
  const TestStore cache(*codec, *codec, 1, 30, c.layer, random_);
  c.blocks = {{1, 1, 10, {{cache.store(), 0, 30}}}};
  for (Ops* ops : {sets_.reference.get(), sets_.cpu.get()}) ops->attention(c.params(*ops));
  for (size_t i = 0; i < 48; ++i) {
    EXPECT_EQ(std::isnan(c.out.narrow()[i]), i < 16 || i >= 32);
    EXPECT_EQ(std::isnan(c.out.wide()[i]), i < 16 || i >= 32);
  }
}

TEST_F(AttentionTest, NanIsNotSwallowed) {
  const auto codec = Codec::make({CodecKind::f32}, 8);
  AttentionCase c({40, 2, 1, 8}, random_);
  const TestStore cache(*codec, *codec, 1, 30, c.layer, random_);
  c.one_block(10, {{cache.store(), 0, 30}});
  c.q.narrow()[5] = std::numeric_limits<float>::quiet_NaN();  // row 0, head 0
  sets_.cpu->attention(c.params(*sets_.cpu));
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(std::isnan(c.out.narrow()[i]), i < 8);
}

// Work is cut by the shapes alone: any number of threads gives the same bits, run after run.
TEST_F(AttentionTest, SameBitsForAnyNumberOfThreads) {
  const auto codec = Codec::make({CodecKind::eden}, 64);
  for (const int64_t rows : {1, 200}) {
    AttentionCase c({rows, 4, 2, 64, 2}, random_);
    const TestStore cache(*codec, *codec, 2, 3000, c.layer, random_);
    c.one_block(2700, {{cache.store(), 500, 2900, 0, 0}});
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 2}) {
      const auto ops = make_cpu_ops(threads);
      c.out = Twin::output({rows, 4, 64});
      ops->attention(c.params(*ops));
      if (first.empty()) first = c.out.narrow();
      EXPECT_TRUE(same_bits(c.out.narrow(), first)) << threads << " threads, " << rows << " rows";
    }
  }
}

TEST_F(AttentionTest, RefusesWhatDoesNotFit) {
  const auto codec = Codec::make({CodecKind::f32}, 8);
  const auto other = Codec::make({CodecKind::f32}, 16);
  AttentionCase c({2, 2, 1, 8}, random_);
  const TestStore cache(*codec, *codec, 1, 30, c.layer, random_);
  const TestStore wrong(*other, *other, 1, 30, c.layer, random_);
  const std::vector<AttentionGroup> bad = {{cache.store(), 0, 31},
                                           {cache.store(), 30, 1},
                                           {wrong.store(), 0, 30},
                                           {cache.store(), 0, 30, -1, 0, nullptr, nullptr, 1}};
  for (const AttentionGroup& group : bad) {
    c.one_block(10, {group});
    for (Ops* ops : {sets_.reference.get(), sets_.cpu.get()}) {
      EXPECT_THROW(ops->attention(c.params(*ops)), std::logic_error);
    }
  }
  c.blocks = {{1, 2, 10, {}}};
  EXPECT_THROW(sets_.cpu->attention(c.params(*sets_.cpu)), std::logic_error);
}

TEST_F(AttentionTest, ProfileSeesAttention) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  AttentionCase c({128, 4, 2, 64}, random_);
  const TestStore cache(*codec, *codec, 2, 500, c.layer, random_);
  c.one_block(372, {{cache.store(), 0, 500, 0, 0}});
  sets_.cpu->attention(c.params(*sets_.cpu));
  const OpsProfile profile = sets_.cpu->profile();
  EXPECT_GT(profile.gemm, 0);
  EXPECT_GT(profile.attention, profile.gemm);
  EXPECT_EQ(profile.total, profile.attention);
}

}  // namespace
}  // namespace kvg::ops_test
