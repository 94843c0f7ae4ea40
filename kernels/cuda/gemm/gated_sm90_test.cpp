#include "kernels/cuda/gemm/gated_sm90.h"

#include "kernels/cuda/cross_test.h"
#include "kernels/cuda/dependent_launch.h"

#include <cmath>
#include <vector>

namespace kvg::cuda {
namespace {

struct Case {
  int64_t rows, in, out;
};

class GatedProductTest : public GpuTest {};

// Rows of one warpgroup and of both; sums shorter than the ring, that end within a step, and long
// ones; tiles that end outside of W, a cluster whose second block has none, more tiles than
// multiprocessors.
TEST_F(GatedProductTest, MatchesTheReferenceAndRepeatsBitwise) {
  if (!runs_sm90_code()) GTEST_SKIP() << "skipped: the kernel is for compute capability 9.0";
  CrossSets sets;
  constexpr Case kCases[] = {{1, 8, 8},       {64, 72, 112},    {129, 136, 328},
                             {193, 264, 88},  {200, 520, 1160}, {250, 2056, 232},
                             {255, 1000, 72}, {256, 1032, 560}, {256, 40, 15784}};
  for (const Case& c : kCases) {
    CrossTensor x = CrossTensor::random(sets, DType::bf16, {c.rows, c.in}, 1);
    CrossTensor weight = CrossTensor::random(sets, DType::bf16, {2 * c.out, c.in}, 2, 0.125);
    CrossTensor gate_up(sets, DType::bf16, {c.rows, 2 * c.out});
    CrossTensor out(sets, DType::bf16, {c.rows, c.out});
    const Ops& reference = *sets.reference;
    sets.reference->gated_linear(
        {x.on(reference), weight.on(reference), gate_up.on(reference), out.on(reference)});
    sets.cuda->synchronize();  // whose stream is another than that of the launches
    for (const int tile_columns : {88, 112}) {
      const GatedLaunch product{
          x.device().data, weight.device().data, out.device().data, c.rows, c.in,
          c.out,           tile_columns};
      std::vector<double> first;
      for (int repeat = 0; repeat < 3; ++repeat) {
        KVG_CHECK_CUDA(cudaMemset(out.device().data, 0xff, out.device().bytes()));
        KVG_CHECK_CUDA(launch(product, nullptr));
        KVG_CHECK_CUDA(cudaDeviceSynchronize());
        if (repeat == 0) first = out.result();
        EXPECT_EQ(out.result(), first);
      }
      EXPECT_LT(out.error(), 5e-3)
          << c.rows << " x " << c.in << " x " << c.out << ", tiles of " << tile_columns;
    }
  }
}

TEST_F(GatedProductTest, WritesItsRowsOnly) {
  if (!runs_sm90_code()) GTEST_SKIP() << "skipped: the kernel is for compute capability 9.0";
  CrossSets sets;
  constexpr int64_t kRows = 131, kIn = 64, kOut = 200;
  const CrossTensor x = CrossTensor::random(sets, DType::bf16, {kRows, kIn}, 1);
  const CrossTensor weight = CrossTensor::random(sets, DType::bf16, {2 * kOut, kIn}, 2);
  const CrossTensor out(sets, DType::bf16, {kGatedMostRows, kOut});
  sets.cuda->synchronize();  // whose stream is another than that of the launches
  KVG_CHECK_CUDA(cudaMemset(out.device().data, 0xff, out.device().bytes()));
  KVG_CHECK_CUDA(launch(
      GatedLaunch{x.device().data, weight.device().data, out.device().data, kRows, kIn, kOut, 112},
      nullptr));
  KVG_CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<double> result = out.result();
  for (int64_t i = 0; i < kGatedMostRows * kOut; ++i) {
    ASSERT_EQ(std::isnan(result[static_cast<size_t>(i)]), i >= kRows * kOut) << i;
  }
}

TEST(GatedProduct, TilesFillTheDevice) {
  EXPECT_EQ(gated_tile_columns(14336, 132), 112);
  EXPECT_EQ(gated_tile_columns(13824, 132), 112);
  EXPECT_EQ(gated_tile_columns(11008, 132), 88);
  EXPECT_EQ(gated_tile_columns(28672, 132), 112);  // two rounds
  EXPECT_EQ(gated_tile_columns(1536, 132), 0);
  EXPECT_EQ(gated_tile_columns(15000, 132), 0);  // a second round for two tiles
}

}  // namespace
}  // namespace kvg::cuda
