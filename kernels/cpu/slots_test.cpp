#include "kernels/cpu/attention_test_util.h"

#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

constexpr int kKvHeads = 2;
constexpr int kHeadDim = 64;

// Codes of both sets side by side.
struct Codes {
  Codes(const Codec& codec, int64_t capacity)
      : k(static_cast<size_t>(kKvHeads * capacity * codec.code_bytes()), 0xee),
        v(k),
        k_scales(static_cast<size_t>(kKvHeads * capacity), 0xeeee),
        v_scales(k_scales) {
    const bool scaled = codec.scale_bytes() > 0;
    store = {&codec,
             &codec,
             capacity,
             k.data(),
             v.data(),
             scaled ? k_scales.data() : nullptr,
             scaled ? v_scales.data() : nullptr};
  }
  std::vector<uint8_t> k, v;
  std::vector<uint16_t> k_scales, v_scales;
  SlotStore store;
};

std::vector<CodecSpec> exact_specs() {
  return {{CodecKind::f32}, {CodecKind::bf16}, {CodecKind::fp8}, {CodecKind::int8}};
}

// Storing with wrap-around, then loading the same slots: each row within its codec's rounding, each
// set the same codes, and no slot beside them touched.
TEST(SlotsTest, StoreAndLoadWrapAround) {
  Sets sets;
  Random random(kSeed + 30);
  for (const CodecSpec& spec : exact_specs()) {
    const auto codec = Codec::make(spec, kHeadDim);
    const double tolerance = spec.kind == CodecKind::f32    ? 0
                             : spec.kind == CodecKind::bf16 ? 0x1p-8
                                                            : 0x1p-4;
    for (const int64_t rows : {1, 3, 70, 129}) {
      const int64_t capacity = rows + 5;
      Codes wide(*codec, capacity);
      Codes narrow(*codec, capacity);
      Twin k = Twin::random({rows, kKvHeads, kHeadDim}, random);
      Twin v = Twin::random({rows, kKvHeads, kHeadDim}, random);
      sets.reference->store(
          {k.on(*sets.reference), v.on(*sets.reference), 1, wide.store, 7 % capacity});
      sets.cpu->store({k.on(*sets.cpu), v.on(*sets.cpu), 1, narrow.store, 7 % capacity});
      EXPECT_EQ(wide.k, narrow.k);
      EXPECT_EQ(wide.v, narrow.v);

      Twin k_back = Twin::output({rows, kKvHeads, kHeadDim});
      Twin v_back = Twin::output({rows, kKvHeads, kHeadDim});
      sets.reference->load(
          {k_back.on(*sets.reference), v_back.on(*sets.reference), 1, wide.store, 7 % capacity});
      sets.cpu->load({k_back.on(*sets.cpu), v_back.on(*sets.cpu), 1, narrow.store, 7 % capacity});
      EXPECT_EQ(k_back.error(), 0);
      EXPECT_EQ(v_back.error(), 0);
      EXPECT_LE(relative_error(k_back.wide(), k.wide()), tolerance);
      EXPECT_LE(relative_error(v_back.wide(), v.wide()), tolerance);

      const auto bytes = static_cast<size_t>(codec->code_bytes());
      for (int64_t i = 0; i < 5; ++i) {
        const auto slot = static_cast<size_t>((7 + rows + i) % capacity);
        EXPECT_EQ(narrow.k[slot * bytes], 0xee);
        EXPECT_EQ(narrow.v[(static_cast<size_t>(capacity) + slot) * bytes + bytes - 1], 0xee);
      }
    }
  }
}

// The layout that caches and other devices rely on: codes [kv_heads, capacity, code_bytes].
TEST(SlotsTest, CodesLieByHeadThenSlot) {
  Sets sets;
  Random random(kSeed + 32);
  const auto codec = Codec::make({CodecKind::f32}, kHeadDim);
  Twin k = Twin::random({3, kKvHeads, kHeadDim}, random);
  Twin v = Twin::random({3, kKvHeads, kHeadDim}, random);
  for (Ops* ops : {sets.reference.get(), sets.cpu.get()}) {
    Codes codes(*codec, 5);
    ops->store({k.on(*ops), v.on(*ops), 0, codes.store, 4});
    std::vector<float> found(kHeadDim);
    for (size_t row = 0; row < 3; ++row) {
      for (size_t head = 0; head < kKvHeads; ++head) {
        const size_t slot = (4 + row) % 5;
        const size_t at = (head * 5 + slot) * kHeadDim;
        const size_t from = (row * kKvHeads + head) * kHeadDim;
        codec->decode(codes.k.data() + at * sizeof(float), nullptr, 1, found.data());
        EXPECT_TRUE(
            std::equal(found.begin(), found.end(), k.narrow().begin() + static_cast<long>(from)));
        codec->decode(codes.v.data() + at * sizeof(float), nullptr, 1, found.data());
        EXPECT_TRUE(
            std::equal(found.begin(), found.end(), v.narrow().begin() + static_cast<long>(from)));
      }
    }
  }
}

TEST(SlotsTest, LoadReturnsFromTheCodecsFrame) {
  Sets sets;
  Random random(kSeed + 31);
  const ReflectingCodec codec(kHeadDim);
  Codes codes(codec, 40);
  Twin k = Twin::random({33, kKvHeads, kHeadDim}, random);
  Twin v = Twin::random({33, kKvHeads, kHeadDim}, random);
  sets.cpu->store({k.on(*sets.cpu), v.on(*sets.cpu), 2, codes.store, 20});
  Twin k_back = Twin::output({33, kKvHeads, kHeadDim});
  Twin v_back = Twin::output({33, kKvHeads, kHeadDim});
  for (Ops* ops : {sets.reference.get(), sets.cpu.get()}) {
    ops->load({k_back.on(*ops), v_back.on(*ops), 2, codes.store, 20});
  }
  EXPECT_LT(relative_error(k_back.wide(), k.wide()), 1e-12);
  EXPECT_LT(relative_error(v_back.wide(), v.wide()), 1e-12);
  EXPECT_LT(relative_error(k_back.narrow(), k.wide()), 1e-6);
  EXPECT_LT(relative_error(v_back.narrow(), v.wide()), 1e-6);
}

TEST(SlotsTest, RefusesMoreRowsThanSlots) {
  const auto cpu = make_cpu_ops(1);
  Random random(kSeed);
  const auto codec = Codec::make({CodecKind::bf16}, kHeadDim);
  Codes codes(*codec, 4);
  Twin k = Twin::random({5, kKvHeads, kHeadDim}, random);
  Twin v = Twin::random({5, kKvHeads, kHeadDim}, random);
  EXPECT_THROW(cpu->store({k.on(*cpu), v.on(*cpu), 0, codes.store, 0}), std::logic_error);
  Twin fewer = Twin::random({4, kKvHeads, kHeadDim}, random);
  EXPECT_THROW(cpu->store({fewer.on(*cpu), fewer.on(*cpu), 0, codes.store, 4}), std::logic_error);
  SlotStore no_codec = codes.store;
  no_codec.k_codec = nullptr;
  EXPECT_THROW(cpu->store({fewer.on(*cpu), fewer.on(*cpu), 0, no_codec, 0}), std::logic_error);
}

}  // namespace
}  // namespace kvg::ops_test
