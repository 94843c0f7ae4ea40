#include "bench/peers/attention_ops.h"

#include "base/error.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/gpu_test.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(AttentionPeerTest, UnknownNamesAreAbsent) {
  EXPECT_THAT(attention_peer_absent("cudn"), HasSubstr("cudn"));
}

TEST(AttentionPeerTest, AnotherSetIsRefused) {
  const auto ops = make_cpu_ops(1);
  EXPECT_NE(error_of([&] { make_attention_peer("cudnn", *ops, *ops); }), "");
}

class AttentionPeerGpuTest : public cuda::GpuTest {};

// Making it compares it with our own kernel, after a prefix.
TEST_F(AttentionPeerGpuTest, AgreesWithOursAndRefusesWhatItCannotDo) {
  if (const std::string absent = attention_peer_absent("cudnn"); !absent.empty()) {
    GTEST_SKIP() << absent;
  }
  const auto ops = make_cuda_ops();
  const auto peer = make_attention_peer("cudnn", *ops, *ops);
  const auto codec = Codec::make({}, 128);
  AttentionGroup group;
  group.store.k_codec = codec.get();
  group.store.v_codec = codec.get();
  group.store.capacity = 64;
  group.count = 64;
  group.first_position = 0;
  AttentionParams p;
  p.streams = 1;
  p.heads = 8;
  p.kv_heads = 2;
  p.head_dim = 128;
  p.scale = 1 / std::sqrt(128.0);
  const auto refused = [&](const AttentionBlock& block) {
    p.blocks = {&block, 1};
    return error_of([&] { peer->attention(p); });
  };
  EXPECT_THAT(refused({0, 64, 0, {group, group}}), HasSubstr("2 groups"));
  EXPECT_THAT(refused({0, 32, 0, {group}}), HasSubstr("does not end with the block"));
  AttentionGroup windowed = group;
  windowed.window = 16;
  EXPECT_THAT(refused({0, 64, 0, {windowed}}), HasSubstr("a window"));
  AttentionGroup around = group;
  around.first_slot = 1;
  EXPECT_THAT(refused({0, 64, 0, {around}}), HasSubstr("around an end"));
  p.streams = 2;
  EXPECT_THAT(refused({0, 64, 0, {group}}), HasSubstr("2 streams"));
}

}  // namespace
}  // namespace kvg
