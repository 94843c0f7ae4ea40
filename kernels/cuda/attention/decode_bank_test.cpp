#include "kernels/cuda/attention/decode_test_util.h"
#include "kernels/cuda/dependent_launch.h"

#include <utility>

namespace kvg::cuda {
namespace {

// Many short caches in bf16 have a kernel of their own: windows and banks that end within a step or
// have none, more warps than steps, and several KV heads a warp.
void expect_bank_kernel_matches(Kept kept, int group, int streams) {
  DecodeCase test;
  test.name = "bank";
  test.kept = kept;
  test.group = group;
  test.streams = streams;
  test.head_norm = group != 3;
  test.block = group;
  test.stretches = true;
  test.positions = {0, 1, 15, 16, 95, 96, 97, 130, 500, 131, 1000, 64, 3};
  CudaContext context;
  DecodeScene scene(context, test, 3);
  for (int32_t step = 0; step < 3; ++step) {
    scene.draw_inputs(mix_seed({4, static_cast<uint64_t>(step)}));
    DecodeAttentionLaunch params = decode_attention_launch(scene.device_params(1));
    ASSERT_TRUE(bank_serves(scene.state(), params.slots, 1, &params.summaries));
    params.kernel = DecodeKernel::bank;
    const std::vector<double> expected = scene.expected(1);
    for (const int32_t splits : {1, 2, 4, 8}) {
      std::vector<uint8_t> first;
      for (const int32_t blocks : {132, 3, 1}) {
        params.grid.splits = splits;
        params.grid.blocks = blocks;
        scene.poison_output();
        KVG_CHECK_CUDA(launch(params, context.stream()));
        EXPECT_LT(relative_norm(scene.result(), expected), 1e-2)
            << splits << " splits, step " << step << ", " << group << " x " << streams;
        if (first.empty()) first = scene.result_bytes();
        EXPECT_EQ(scene.result_bytes(), first) << blocks << " blocks";
      }
    }
    scene.advance();
  }
  EXPECT_LT(scene.store_error(false), 1e-3);
}

class DecodeBankTest : public GpuTest {};

TEST_F(DecodeBankTest, ManyShortWindowsMatchTheReference) {
  if (!runs_sm90_code()) GTEST_SKIP() << "skipped: the kernel is for compute capability 9.0";
  expect_bank_kernel_matches(Kept::window, 4, 2);
  expect_bank_kernel_matches(Kept::window, 3, 1);
}

TEST_F(DecodeBankTest, ManySmallBanksMatchTheReference) {
  if (!runs_sm90_code()) GTEST_SKIP() << "skipped: the kernel is for compute capability 9.0";
  for (const auto& [group, streams] : {std::pair{4, 2}, {8, 1}, {1, 2}, {3, 2}}) {
    expect_bank_kernel_matches(Kept::landmark, group, streams);
  }
}

}  // namespace
}  // namespace kvg::cuda
