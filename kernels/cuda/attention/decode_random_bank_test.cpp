#include "kernels/cuda/attention/decode_test_util.h"
#include "kernels/cuda/attention/random_bank.h"

namespace kvg::cuda {
namespace {

class RandomBankTest : public GpuTest {};

// Evictions of several steps, then attention over what the banks hold.
TEST_F(RandomBankTest, KeepsWhatTheReferenceKeeps) {
  CodecSpec fp8;
  fp8.kind = CodecKind::fp8;
  fp8.fp8_scale = Fp8Scale::vector;
  CodecSpec eden;
  eden.kind = CodecKind::eden;
  eden.seed = 9;
  for (const auto& [window, bank] : {std::pair{CodecSpec(), CodecSpec()},
                                     {CodecSpec(), eden},
                                     {eden, CodecSpec()},
                                     {fp8, fp8}}) {
    for (const int64_t block : {int64_t{1}, int64_t{7}, int64_t{40}}) {
      for (const int head_dim : {64, 128}) {
        DecodeCase test;
        test.name = "random bank";
        test.kept = Kept::random;
        test.window_codec = window;
        test.bank_codec = bank;
        test.head_dim = head_dim;
        test.block = block;
        // Nothing evicted yet; the bank filling; full; for long full.
        test.positions = {0, 60, 110, 166, 100000};
        test.window = 60;
        CudaContext context;
        DecodeScene scene(context, test, mix_seed({static_cast<uint64_t>(block)}));
        for (int64_t step = 0; step < DecodeScene::kSteps; ++step) {
          random_evict(context, scene.state(), scene.positions());
          scene.expect_evict();
          scene.draw_inputs(static_cast<uint64_t>(step));
          for (int32_t layer = 0; layer < DecodeScene::kLayers; ++layer) {
            decode_attention(context, scene.device_params(layer));
            EXPECT_LT(relative_norm(scene.result(), scene.expected(layer)), 1e-2)
                << "step " << step << " layer " << layer << " block " << block;
          }
          scene.advance();
        }
        EXPECT_LT(scene.store_error(true), window == bank ? 1e-3 : 1e-2) << "block " << block;
      }
    }
  }
}

}  // namespace
}  // namespace kvg::cuda
