#include "kernels/cuda/attention/prefill_test_util.h"
#include "kernels/landmark_codec.h"

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::cuda {
namespace {

std::string name(const PrefillShape& s) {
  return std::to_string(s.rows) + " rows, " + std::to_string(s.heads) + "/" +
         std::to_string(s.kv_heads) + " heads of " + std::to_string(s.head_dim) + ", " +
         std::to_string(s.streams) + " streams";
}

std::vector<uint8_t> random_mask(size_t n, Random& random) {
  std::vector<uint8_t> mask(n);
  for (uint8_t& x : mask) x = random.below(3) != 0;
  return mask;
}

std::vector<float> random_weights(size_t n, Random& random) {
  std::vector<float> weights(n);
  for (float& x : weights) x = static_cast<float>(3 * random.uniform());
  return weights;
}

// Causal attention after some history, as a dense cache gives it.
TEST_F(PrefillTest, AgreesWithTheReferenceForEveryShape) {
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    for (const int streams : {1, 2}) {
      for (const auto& [heads, kv_heads] : {std::tuple{2, 2}, std::tuple{2, 1}, std::tuple{8, 2},
                                            std::tuple{7, 1}, std::tuple{8, 1}}) {
        for (const int64_t rows : {1, 33, 127, 129}) {
          const PrefillShape shape{rows, heads, kv_heads, head_dim, streams, 1, rows % 2 == 1};
          PrefillTestCase c(shape, random_);
          const PrefillStore store(*codec, *codec, kv_heads, rows + 70, c.kLayer, random_);
          c.add_block(0, rows, 65);
          c.add_group(store, slots(0, rows + 65, 0));
          EXPECT_LT(c.error(context()), kTolerance) << name(shape);
        }
      }
    }
  }
}

TEST_F(PrefillTest, LongSequences) {
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    for (const int64_t window : {0, 300}) {
      const PrefillShape shape{1000, 4, 1, head_dim, 2, 1, true};
      PrefillTestCase c(shape, random_);
      const PrefillStore store(*codec, *codec, 1, 1000, c.kLayer, random_);
      c.add_block(0, 1000, 0);
      c.add_group(store, slots(0, 1000, 0, window));
      EXPECT_LT(c.error(context()), kTolerance) << name(shape) << ", window " << window;
    }
  }
}

// Sequences of different lengths in one call; rings that wrap around; windows; slots that begin
// before and after the first row.
TEST_F(PrefillTest, RaggedBatchesAndRings) {
  const auto codec = Codec::make({CodecKind::bf16}, 128);
  for (const int streams : {1, 2}) {
    PrefillTestCase c({1 + 129 + 40 + 77, 4, 2, 128, streams}, random_);
    const PrefillStore a(*codec, *codec, 2, 700, c.kLayer, random_);
    const PrefillStore b(*codec, *codec, 2, 190, c.kLayer, random_, 1);
    c.add_block(0, 1, 5000);
    c.add_group(a, slots(650, 600, 4401, 256));
    c.add_block(1, 129, 61);
    c.add_group(b, slots(100, 190, 0, 50));
    c.add_block(130, 40, 0);
    c.add_group(b, slots(189, 40, 0, 1));
    c.add_block(170, 77, 1000);
    c.add_empty_group();
    c.add_group(b, slots(180, 64));
    c.add_group(a, slots(400, 400, 650, 0));
    EXPECT_LT(c.error(context()), kTolerance) << streams << " streams";
  }
}

// Half-split RoPE keeps the slower half of the pairs, which is two runs of coordinates.
std::vector<int32_t> slow_half(int head_dim) {
  std::vector<int32_t> dims;
  for (int32_t i = 0; i < head_dim; ++i) {
    if (i / (head_dim / 4) % 2 == 1) dims.push_back(i);
  }
  return dims;
}

// Blocks of several tiles, banks and recent tokens in one tile, snapshots that blocks share, and
// slots that lie askew.
TEST_F(PrefillTest, LargeLandmarkBlocks) {
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    const auto wide = Codec::make({CodecKind::f32}, head_dim);
    const auto band = make_band_codec(CodecKind::f32, head_dim, slow_half(head_dim));
    for (const int streams : {1, 2}) {
      const int64_t rows = 400;
      PrefillTestCase c({rows, 8, 2, head_dim, streams, 1, true}, random_);
      const PrefillStore exact(*codec, *codec, 2, 64, c.kLayer, random_);
      const PrefillStore summary(*band, *wide, 2, 64, c.kLayer, random_, 1);
      const PrefillStore sequence(*codec, *codec, 2, 256 + rows + 3, c.kLayer, random_);
      for (int64_t begin = 0; begin < rows; begin += 150) {
        const int64_t n = std::min<int64_t>(150, rows - begin);
        c.add_block(begin, n, 1000 + begin);
        c.add_group(exact, slots(0, 64), random_mask(64, random_));
        c.add_group(summary, slots(0, 64), random_mask(64, random_), random_weights(64, random_));
        c.add_group(sequence, slots(3 + begin, 256 + n, 744 + begin));
      }
      EXPECT_LT(c.error(context()), kTolerance) << head_dim << ", " << streams << " streams";
    }
  }
}

// What landmark caches ask for: small blocks that read an exact bank with a mask, a summary bank
// with weights whose keys keep half of the coordinates, and recent tokens.
TEST_F(PrefillTest, LandmarkBlocks) {
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    const auto wide = Codec::make({CodecKind::f32}, head_dim);
    std::vector<int32_t> dims;
    for (int32_t i = 0; i < head_dim; ++i) {
      if (i % 3 != 1) dims.push_back(i);
    }
    for (const auto& [kind, block_rows, streams] :
         {std::tuple{CodecKind::bf16, 16, 2}, std::tuple{CodecKind::f32, 16, 1},
          std::tuple{CodecKind::bf16, 50, 2}}) {
      const auto band = make_band_codec(kind, head_dim, dims);
      const int64_t rows = 3 * block_rows + 5;
      PrefillTestCase c({rows, 8, 2, head_dim, streams, 1, true}, random_);
      const PrefillStore exact(*codec, *codec, 2, 64, c.kLayer, random_);
      const PrefillStore summary(*band, kind == CodecKind::f32 ? *wide : *codec, 2, 48, c.kLayer,
                                 random_, 1);
      const PrefillStore ring(*codec, *codec, 2, 100 + rows, c.kLayer, random_);
      for (int64_t begin = 0; begin < rows; begin += block_rows) {
        const int64_t n = std::min<int64_t>(block_rows, rows - begin);
        c.add_block(begin, n, 400 + begin);
        c.add_group(exact, slots(0, 64),
                    begin == 0 ? std::vector<uint8_t>(64, 0) : random_mask(64, random_));
        c.add_group(summary, slots(0, 48), random_mask(48, random_), random_weights(48, random_));
        c.add_group(ring, slots((50 + begin) % (100 + rows), 90 + n, 310 + begin));
      }
      EXPECT_LT(c.error(context()), kTolerance)
          << "head_dim " << head_dim << ", blocks of " << block_rows;
    }
  }
}

// Blocks of one warpgroup's rows, which an item joins: with banks, without, and with a part of one;
// the last one smaller; sliding windows; recent tokens that begin anywhere.
TEST_F(PrefillTest, JoinedBlocks) {
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    for (const int streams : {1, 2}) {
      const int64_t block_rows = 16 / streams;
      for (const int64_t window : {0, 37}) {
        const int64_t rows = 9 * block_rows + 5;
        PrefillTestCase c({rows, 8, 2, head_dim, streams, 1, true}, random_);
        const PrefillStore exact(*codec, *codec, 2, 9 * 64, c.kLayer, random_);
        const PrefillStore summary(*codec, *codec, 2, 9 * 64, c.kLayer, random_, 1);
        const PrefillStore sequence(*codec, *codec, 2, 200 + rows, c.kLayer, random_);
        for (int64_t begin = 0; begin < rows; begin += block_rows) {
          const int64_t n = std::min<int64_t>(block_rows, rows - begin);
          const int64_t i = begin / block_rows % 9;
          c.add_block(begin, n, 1000 + begin);
          if (i % 4 != 1) c.add_group(exact, slots(64 * i, 64), random_mask(64, random_));
          if (i % 3 != 1) {
            c.add_group(summary, slots(64 * i, 7 + 6 * i), random_mask(64, random_),
                        random_weights(64, random_));
          }
          c.add_group(sequence, slots(11 + begin, 170 + n, 830 + begin, window));
        }
        EXPECT_LT(c.error(context()), kTolerance)
            << head_dim << ", " << streams << " streams, window " << window;
        const std::vector<double> first = c.run(context());
        for (int i = 0; i < 3; ++i) EXPECT_EQ(c.run(context()), first);
        if (context().compute_capability() == 90) expect_log_sums(c.log_sums(context()));
      }
    }
  }
}

// Sinks are read with queries of another position than recent tokens.
TEST_F(PrefillTest, SinksHaveTheirOwnQueries) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  for (const int64_t rows : {3, 150}) {
    PrefillTestCase c({rows, 4, 2, 64, 2, 2}, random_);
    const PrefillStore sinks(*codec, *codec, 2, 4, c.kLayer, random_, 2);
    const PrefillStore ring(*codec, *codec, 2, 200, c.kLayer, random_);
    c.add_block(0, rows, 2);
    c.add_group(sinks, slots(0, 4, 0, 0, 1));
    c.add_group(ring, slots(0, rows - 2, 4, 40));
    EXPECT_LT(c.error(context()), kTolerance) << rows << " rows";
  }
}

std::vector<std::unique_ptr<Codec>> every_codec(int head_dim) {
  std::vector<std::unique_ptr<Codec>> codecs;
  codecs.push_back(Codec::make({CodecKind::f32}, head_dim));
  codecs.push_back(Codec::make({CodecKind::bf16}, head_dim));
  for (const Fp8Scale scale : {Fp8Scale::unit, Fp8Scale::vector}) {
    codecs.push_back(Codec::make({.kind = CodecKind::fp8, .fp8_scale = scale}, head_dim));
  }
  codecs.push_back(Codec::make({CodecKind::int8}, head_dim));
  for (const Rotation rotation : {Rotation::hdhd, Rotation::hd, Rotation::haar}) {
    for (const int bits : {1, 2, 3, 4}) {
      codecs.push_back(Codec::make(
          {.kind = CodecKind::eden, .bits = bits, .rotation = rotation, .seed = 5}, head_dim));
    }
  }
  return codecs;
}

// Every codec, for K and V apart, next to a group of another codec: each has its own frames.
TEST_F(PrefillTest, ReadsThroughEveryCodec) {
  for (const int head_dim : {64, 128}) {
    const auto codecs = every_codec(head_dim);
    for (size_t i = 0; i < codecs.size(); ++i) {
      const Codec& a = *codecs[i];
      const Codec& b = *codecs[(i + 1) % codecs.size()];
      const int64_t rows = i % 2 == 0 ? 40 : 7;
      PrefillTestCase c({rows, 4, 2, head_dim, 2}, random_);
      const PrefillStore mixed(a, b, 2, 151, c.kLayer, random_, 0.5);
      const PrefillStore other(b, a, 2, 91, c.kLayer, random_, 0.5);
      const PrefillStore same(a, a, 2, 61, c.kLayer, random_, 0.5);
      c.add_block(0, rows, 100);
      c.add_group(mixed, slots(120, 100 + rows, 0));
      c.add_group(other, slots(3, 80), random_mask(80, random_));
      c.add_group(same, slots(0, 60), {}, random_weights(60, random_));
      EXPECT_LT(c.error(context()), kTolerance) << "codec " << i << ", head_dim " << head_dim;
    }
  }
}

// Groups of several rotations, in an order that leads from one to another and back to none.
TEST_F(PrefillTest, ManyFrames) {
  for (const int head_dim : {64, 128}) {
    const auto plain = Codec::make({CodecKind::bf16}, head_dim);
    std::vector<std::unique_ptr<Codec>> rotated;
    for (const uint64_t seed : {1, 2, 3}) {
      rotated.push_back(Codec::make({.kind = CodecKind::eden, .bits = 4, .seed = seed}, head_dim));
    }
    PrefillTestCase c({130, 8, 2, head_dim, 2, 2, true}, random_);
    std::vector<std::unique_ptr<PrefillStore>> stores;
    c.add_block(0, 70, 500);
    for (int i = 0; i < 7; ++i) {
      const Codec& k = i == 3 ? *plain : *rotated[static_cast<size_t>(i) % 3];
      const Codec& v = i == 5 ? *plain : *rotated[static_cast<size_t>(i + i / 3) % 3];
      stores.push_back(std::make_unique<PrefillStore>(k, v, 2, 70, c.kLayer, random_, i));
      c.add_group(*stores.back(), slots(i, 40 + i, -1, 0, i % 2));
    }
    c.add_block(70, 60, 30);  // all of it rotated
    c.add_group(*stores[0], slots(60, 70, 15, 20));
    EXPECT_LT(c.error(context()), kTolerance) << "head_dim " << head_dim;
  }
}

// As many groups as a block may have for the kernels of capability 9.0, and more; some empty, some
// that start over, some long.
TEST_F(PrefillTest, ManyGroups) {
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    PrefillTestCase c({300, 4, 2, head_dim, 1}, random_);
    const PrefillStore store(*codec, *codec, 2, 900, c.kLayer, random_);
    for (const int groups : {31, 32, 33}) {
      c.add_block(100 * (groups - 31), 100, 700);
      for (int i = 0; i < groups; ++i) {
        const auto begin = static_cast<int64_t>(random_.below(900));
        const auto count = static_cast<int64_t>(1 + random_.below(i % 9 == 0 ? 900 : 100));
        if (i % 5 == 3) {
          c.add_group(store, slots(begin, count, 650, 60));
        } else {
          c.add_group(store, slots(begin, count), random_mask(static_cast<size_t>(count), random_));
        }
      }
    }
    EXPECT_LT(c.error(context()), kTolerance) << head_dim;
    PrefillTestCase few({100, 4, 2, head_dim, 2}, random_);
    few.add_block(0, 100, 700);
    for (int i = 0; i < 32; ++i) few.add_group(store, slots(29 * i, 10 + 7 * i));
    EXPECT_LT(few.error(context()), kTolerance) << head_dim;
  }
}

TEST_F(PrefillTest, RowsThatCanReadNothingAreZero) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  PrefillTestCase c({40, 2, 1, 64, 2, 1, true}, random_);
  const PrefillStore cache(*codec, *codec, 1, 30, c.kLayer, random_);
  c.add_block(0, 3, 100);
  c.add_block(3, 4, 100);
  c.add_empty_group();
  c.add_block(7, 3, 100);
  c.add_group(cache, slots(0, 30), std::vector<uint8_t>(30, 0));
  c.add_block(10, 10, 0);  // 5 rows before the first slot
  c.add_group(cache, slots(0, 30, 5));
  c.add_block(20, 20, 95);  // the window moves past the slots
  c.add_group(cache, slots(0, 10, 90, 8));
  EXPECT_LT(c.error(context()), kTolerance);
  const std::vector<double> out = c.run(context());
  for (size_t row = 0; row < 40; ++row) {
    const auto* begin = out.data() + row * 128;
    const bool zero = std::all_of(begin, begin + 128, [](double x) { return x == 0; });
    EXPECT_EQ(zero, row < 15 || row >= 32) << "row " << row;
  }
}

TEST_F(PrefillTest, GivesTheSumsOfItsSoftmaxes) {
  if (context().compute_capability() != 90) GTEST_SKIP() << "a kernel of capability 9.0 has them";
  for (const int head_dim : {64, 128}) {
    const auto codec = Codec::make({CodecKind::bf16}, head_dim);
    for (const int streams : {1, 2}) {
      PrefillTestCase c({70, 6, 2, head_dim, streams}, random_);
      const PrefillStore cache(*codec, *codec, 2, 200, c.kLayer, random_);
      c.add_block(0, 5, 0);  // 3 rows before the first slot
      c.add_group(cache, slots(0, 30, 3));
      c.add_block(5, 65, 130);
      c.add_group(cache, slots(150, 190, 6), {}, random_weights(190, random_));
      expect_log_sums(c.log_sums(context()));
    }
  }
}

TEST_F(PrefillTest, RowsOfNoBlockAreLeftAlone) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  PrefillTestCase c({30, 2, 1, 64, 1}, random_);
  const PrefillStore cache(*codec, *codec, 1, 30, c.kLayer, random_);
  c.add_block(3, 20, 10);
  c.add_group(cache, slots(0, 30));
  const std::vector<double> out = c.run(context());
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(std::isnan(out[i]), i < 3 * 128 || i >= 23 * 128) << "element " << i;
  }
}

// Logits so large that every shift of the softmax matters, rising and falling along the slots.
TEST_F(PrefillTest, LargeLogits) {
  const auto codec = Codec::make({CodecKind::bf16}, 128);
  for (const double gain : {8.0, 64.0}) {
    PrefillTestCase c({150, 4, 1, 128, 2}, random_);
    for (double& x : c.q()) x *= gain;
    const PrefillStore cache(*codec, *codec, 1, 600, c.kLayer, random_);
    c.add_block(0, 150, 440);
    c.add_group(cache, slots(17, 590, 0));
    EXPECT_LT(c.error(context()), kTolerance) << "gain " << gain;
  }
}

TEST_F(PrefillTest, NanStaysInItsHead) {
  const auto codec = Codec::make({CodecKind::bf16}, 64);
  for (const int streams : {1, 2}) {
    PrefillTestCase c({40, 2, 1, 64, streams, 1, true}, random_);
    const PrefillStore cache(*codec, *codec, 1, 50, c.kLayer, random_);
    c.add_block(0, 40, 10);
    c.add_group(cache, slots(0, 50, 0));
    c.q()[5] = std::numeric_limits<double>::quiet_NaN();  // row 0, stream 0, head 0
    const std::vector<double> out = c.run(context());
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i < 64) << i;
  }
}

TEST_F(PrefillTest, SameBitsEveryTime) {
  const auto codec = Codec::make({CodecKind::bf16}, 128);
  const auto eden = Codec::make({.kind = CodecKind::eden, .bits = 3}, 128);
  PrefillTestCase c({400, 8, 2, 128, 2, 1, true}, random_);
  const PrefillStore bank(*eden, *eden, 2, 100, c.kLayer, random_);
  const PrefillStore cache(*codec, *codec, 2, 500, c.kLayer, random_);
  for (int64_t begin = 0; begin < 400; begin += 100) {
    c.add_block(begin, 100, begin);
    c.add_group(bank, slots(0, 100), random_mask(100, random_));
    c.add_group(cache, slots(30, begin + 100, 0));
  }
  const std::vector<double> first = c.run(context());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(c.run(context()), first);
}

}  // namespace
}  // namespace kvg::cuda
