// Store, load and copy_slots as operations of a context; copies byte for byte against the host.

#include "kernels/cuda/codec/store.h"

#include "kernels/cuda/codec/codec_test_util.h"
#include "kernels/cuda/codec/slots.h"

namespace kvg::cuda {
namespace {

class CudaStoreTest : public GpuTest {};

void fill(std::vector<uint8_t>& bytes, Random& random) {
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next_u32());
}

void fill(HostSlots& slots, uint64_t seed) {
  Random random(seed);
  fill(slots.k_codes, random);
  fill(slots.v_codes, random);
  for (uint16_t& scale : slots.k_scales) scale = static_cast<uint16_t>(random.next_u32());
  for (uint16_t& scale : slots.v_scales) scale = static_cast<uint16_t>(random.next_u32());
}

TEST_F(CudaStoreTest, CopiesSlotsByteForByte) {
  constexpr int kHeads = 3;
  constexpr int64_t kFrom = 50;
  constexpr int64_t kTo = 41;
  for (const CodecCase& codec_case : all_codec_cases()) {
    const auto codec = codec_case.make();
    const TestCodec device(*codec, 1, kHeads);
    const TestSlots from(device.device(), kHeads, kFrom);
    const TestSlots to(device.device(), kHeads, kTo);
    HostSlots source(*codec, kHeads, kFrom);
    HostSlots target(*codec, kHeads, kTo);
    fill(source, 1);
    fill(target, 2);
    for (const int64_t count : {0, 1, 29, 41}) {
      from.upload(source);
      to.upload(target);
      CopySlotsLaunch p;
      p.from = from.slots();
      p.to = to.slots();
      p.from_slot = 30;
      p.to_slot = 17;
      p.count = count;
      p.kv_heads = kHeads;
      KVG_CHECK_CUDA(launch(p, nullptr));
      HostSlots got(*codec, kHeads, kTo);
      to.download(got);
      HostSlots want = target;
      reference::copy_slots({source.store(*codec, kFrom), want.store(*codec, kTo), kHeads,
                             p.from_slot, p.to_slot, count});
      EXPECT_EQ(got.k_codes, want.k_codes) << codec_case.name << " " << count;
      EXPECT_EQ(got.v_codes, want.v_codes) << codec_case.name << " " << count;
      EXPECT_EQ(got.k_scales, want.k_scales) << codec_case.name << " " << count;
      EXPECT_EQ(got.v_scales, want.v_scales) << codec_case.name << " " << count;
    }
  }
}

TEST_F(CudaStoreTest, RefusesWhatDoesNotFit) {
  const auto codec = Codec::make({.kind = CodecKind::bf16}, 64);
  const TestCodec device(*codec, 1, 1);
  const TestSlots slots(device.device(), 1, 8);
  StoreLaunch p;
  p.slots = slots.slots();
  p.kv_heads = 1;
  p.rows = 9;
  EXPECT_EQ(launch(p, nullptr), cudaErrorInvalidValue);
  p.rows = 1;
  p.first_slot = 8;
  EXPECT_EQ(launch(p, nullptr), cudaErrorInvalidValue);
  std::vector<void*> owned;
  EXPECT_THROW(make_device_codec(*Codec::make({.kind = CodecKind::bf16}, 32), 1, 1, &owned), Error);
}

// K and V with different codecs, through the context.
TEST_F(CudaStoreTest, OperationsOfAContext) {
  constexpr int kHeads = 2;
  constexpr int64_t kCapacity = 33;
  constexpr int kDim = 64;
  CudaContext context;
  const auto k_codec = Codec::make({.kind = CodecKind::eden, .bits = 4, .seed = 3}, kDim);
  const auto v_codec = Codec::make({.kind = CodecKind::bf16}, kDim);
  TestBuffer codes_k(static_cast<size_t>(kHeads * kCapacity * k_codec->code_bytes()));
  TestBuffer codes_v(static_cast<size_t>(kHeads * kCapacity * v_codec->code_bytes()));
  TestBuffer scales_k(static_cast<size_t>(kHeads * kCapacity * 2));
  const SlotStore store_of{k_codec.get(),
                           v_codec.get(),
                           kCapacity,
                           static_cast<uint8_t*>(codes_k.data()),
                           static_cast<uint8_t*>(codes_v.data()),
                           static_cast<uint16_t*>(scales_k.data()),
                           nullptr};
  const int64_t rows = 32;
  const auto k = random_values(static_cast<size_t>(rows * kHeads * kDim), DType::bf16, 9);
  const auto v = random_values(k.size(), DType::bf16, 10);
  TestBuffer k_in(2 * k.size()), v_in(2 * k.size()), k_out(2 * k.size()), v_out(2 * k.size());
  k_in.upload(k, DType::bf16);
  v_in.upload(v, DType::bf16);
  const auto rows_of = [&](const TestBuffer& buffer) {
    return Tensor(buffer.data(), DType::bf16, Device::cuda, {rows, kHeads, kDim});
  };
  store(context, {rows_of(k_in), rows_of(v_in), 4, store_of, 11});
  load(context, {rows_of(k_out), rows_of(v_out), 4, store_of, 11});
  KVG_CHECK_CUDA(cudaStreamSynchronize(context.stream()));
  EXPECT_EQ(v_out.download(v.size(), DType::bf16), v);
  EXPECT_LT(relative_norm(k_out.download(k.size(), DType::bf16), k), 0.12);
}

}  // namespace
}  // namespace kvg::cuda
