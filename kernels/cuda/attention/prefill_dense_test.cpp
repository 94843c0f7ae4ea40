#include "kernels/cuda/attention/prefill_test_util.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::cuda {
namespace {

// Calls of blocks that read one stretch of plain slots each, which have a kernel of their own.
class DensePrefillTest : public PrefillTest {
 protected:
  static std::unique_ptr<Codec> plain(int head_dim) {
    return Codec::make({CodecKind::bf16}, head_dim);
  }
};

constexpr std::tuple<int, int> kGroups[] = {{2, 2}, {3, 1}, {4, 1}, {6, 1}, {8, 1}};

// Sequences of different lengths, whole, as chunks after a prefix, within windows and beside slots
// that everyone reads; memory around them is not to be read.
TEST_F(DensePrefillTest, RaggedBatches) {
  for (const int head_dim : {64, 128}) {
    const auto codec = plain(head_dim);
    for (const int streams : {1, 2}) {
      for (const auto& [heads, kv_heads] : kGroups) {
        PrefillTestCase c({700, heads, kv_heads, head_dim, streams, 1, heads == 4}, random_);
        PrefillStore a(*codec, *codec, kv_heads, 900, c.kLayer, random_);
        PrefillStore b(*codec, *codec, kv_heads, 300, c.kLayer, random_, 1);
        a.spoil(831, 900);
        b.spoil(290, 300);
        c.add_block(0, 1, 830);
        c.add_group(a, slots(0, 831, 0));
        c.add_block(1, 331, 500);
        c.add_group(a, slots(0, 831, 0));
        c.add_block(332, 67, 900);
        c.add_empty_group();
        c.add_group(b, slots(13, 277));
        c.add_block(399, 150, 140);
        c.add_group(b, slots(0, 290, 0, 50));
        c.add_block(549, 70, 70);
        c.add_group(a, slots(131, 700, 0, 1));
        c.add_block(619, 33, 0);
        c.add_group(b, slots(7, 33, 0));
        c.add_block(652, 48, 0);
        c.add_group(a, slots(300, 48, 0));
        EXPECT_LT(c.error(context()), kTolerance) << heads << "/" << kv_heads << " heads of "
                                                  << head_dim << ", " << streams << " streams";
      }
    }
  }
}

TEST_F(DensePrefillTest, LongSequencesGiveTheSameBitsEveryTime) {
  for (const int head_dim : {64, 128}) {
    const auto codec = plain(head_dim);
    for (const int streams : {1, 2}) {
      PrefillTestCase c({900, 4, 2, head_dim, streams, 1, true}, random_);
      const PrefillStore cache(*codec, *codec, 2, 2000, c.kLayer, random_);
      c.add_block(0, 900, 491);
      c.add_group(cache, slots(9, 1391, 0));
      EXPECT_LT(c.error(context()), kTolerance) << head_dim << ", " << streams << " streams";
      const std::vector<double> first = c.run(context());
      for (int i = 0; i < 3; ++i) EXPECT_EQ(c.run(context()), first);
    }
  }
}

// Rows before the first slot and rows whose window is past the last read nothing.
TEST_F(DensePrefillTest, RowsThatReadNothing) {
  for (const int head_dim : {64, 128}) {
    const auto codec = plain(head_dim);
    PrefillTestCase c({340, 4, 2, head_dim, 2, 1, true}, random_);
    const PrefillStore cache(*codec, *codec, 2, 200, c.kLayer, random_);
    c.add_block(0, 140, 0);
    c.add_group(cache, slots(0, 40, 100));
    c.add_block(140, 200, 195);
    c.add_group(cache, slots(0, 200, 0, 8));
    EXPECT_LT(c.error(context()), kTolerance);
    const std::vector<double> out = c.run(context());
    const auto size = static_cast<int64_t>(4 * head_dim);
    for (int64_t row = 0; row < 340; ++row) {
      const auto* begin = out.data() + row * size;
      const bool zero = std::all_of(begin, begin + size, [](double x) { return x == 0; });
      EXPECT_EQ(zero, row < 100 || row >= 140 + 12) << "row " << row;
    }
  }
}

TEST_F(DensePrefillTest, SumsOfSoftmaxes) {
  if (context().compute_capability() != 90) GTEST_SKIP() << "a kernel of capability 9.0 has them";
  for (const int head_dim : {64, 128}) {
    const auto codec = plain(head_dim);
    for (const int streams : {1, 2}) {
      PrefillTestCase c({390, 6, 2, head_dim, streams}, random_);
      const PrefillStore cache(*codec, *codec, 2, 600, c.kLayer, random_);
      c.add_block(0, 5, 0);  // 3 rows before the first slot
      c.add_group(cache, slots(0, 30, 3));
      c.add_block(5, 385, 200);
      c.add_group(cache, slots(10, 585, 0));
      expect_log_sums(c.log_sums(context()));
    }
  }
}

// Logits so large that older slots outweigh what weights are relative to by more than a number
// holds, for some rows and not for others.
TEST_F(DensePrefillTest, LargeLogits) {
  for (const int head_dim : {64, 128}) {
    const auto codec = plain(head_dim);
    for (const int streams : {1, 2}) {
      for (const double gain : {8.0, 32.0, 128.0}) {
        PrefillTestCase c({300, 2, 1, head_dim, streams}, random_);
        for (size_t i = 0; i < c.q().size(); ++i) {
          if (i / static_cast<size_t>(head_dim) % 3 != 0) c.q()[i] *= gain;
        }
        const PrefillStore cache(*codec, *codec, 1, 1500, c.kLayer, random_);
        c.add_block(0, 300, 900);
        c.add_group(cache, slots(17, 1200, 0));
        EXPECT_LT(c.error(context()), kTolerance)
            << head_dim << ", " << streams << " streams, gain " << gain;
      }
    }
  }
}

// A key that is not a number spoils the rows that read it and no others.
TEST_F(DensePrefillTest, NanStaysWithItsReaders) {
  for (const int head_dim : {64, 128}) {
    const auto codec = plain(head_dim);
    for (int64_t slot = 100; slot < 108; ++slot) {
      PrefillTestCase c({400, 2, 1, head_dim, 2}, random_);
      PrefillStore cache(*codec, *codec, 1, 408, c.kLayer, random_);
      cache.spoil(slot, slot + 1, false);
      c.add_block(0, 400, 8);
      c.add_group(cache, slots(0, 408, 0));
      const std::vector<double> out = c.run(context());
      const auto size = static_cast<size_t>(2 * head_dim);
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_EQ(std::isnan(out[i]), static_cast<int64_t>(i / size) + 8 >= slot) << i;
      }
    }
  }
}

}  // namespace
}  // namespace kvg::cuda
