#include "kernels/reference/codec_packing.h"

#include "base/random.h"

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

template <typename Bits>
class PackingTest : public testing::Test {};

template <int kBits>
struct Width {
  static constexpr int value = kBits;
};
using Widths = testing::Types<Width<1>, Width<2>, Width<3>, Width<4>>;
TYPED_TEST_SUITE(PackingTest, Widths);

std::vector<uint8_t> random_codes(int head_dim, int bits, Random& random) {
  std::vector<uint8_t> codes(static_cast<size_t>(head_dim));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random.below(1u << bits));
  return codes;
}

// T16: exact for random codes, at every alignment, writing nothing beyond its bytes.
TYPED_TEST(PackingTest, RoundTripAtEveryAlignment) {
  constexpr int kBits = TypeParam::value;
  Random random(mix_seed({name_seed("packing"), kBits}));
  for (const int head_dim : {8, 16, 24, 64, 96, 128, 256}) {
    const auto bytes = static_cast<size_t>(packed_bytes(kBits, head_dim));
    EXPECT_EQ(bytes, static_cast<size_t>(kBits * head_dim / 8));
    for (size_t offset = 0; offset < 32; ++offset) {
      const std::vector<uint8_t> codes = random_codes(head_dim, kBits, random);
      const auto guard = static_cast<uint8_t>(random.below(256));
      std::vector<uint8_t> packed(bytes + 64, guard);
      pack_codes<kBits>(codes.data(), head_dim, packed.data() + offset);
      for (size_t i = 0; i < packed.size(); ++i) {
        const bool inside = i >= offset && i < offset + bytes;
        ASSERT_TRUE(inside || packed[i] == guard) << i;
      }
      std::vector<uint8_t> unpacked(codes.size() + 2 * offset, guard);
      unpack_codes<kBits>(packed.data() + offset, head_dim, unpacked.data() + offset);
      ASSERT_EQ(std::vector<uint8_t>(unpacked.begin() + static_cast<ptrdiff_t>(offset),
                                     unpacked.begin() + static_cast<ptrdiff_t>(offset) + head_dim),
                codes);
    }
  }
}

// Every byte string is the packing of some codes: packing is a bijection.
TYPED_TEST(PackingTest, EveryByteStringIsACode) {
  constexpr int kBits = TypeParam::value;
  Random random(mix_seed({name_seed("bytes"), kBits}));
  for (int trial = 0; trial < 200; ++trial) {
    const int head_dim = 8 * (1 + static_cast<int>(random.below(32)));
    std::vector<uint8_t> packed(static_cast<size_t>(packed_bytes(kBits, head_dim)));
    for (uint8_t& byte : packed) byte = static_cast<uint8_t>(random.next_u32());
    std::vector<uint8_t> codes(static_cast<size_t>(head_dim));
    unpack_codes<kBits>(packed.data(), head_dim, codes.data());
    std::vector<uint8_t> again(packed.size());
    pack_codes<kBits>(codes.data(), head_dim, again.data());
    ASSERT_EQ(again, packed);
  }
}

// The layout itself, bit by bit, as the header states it.
TYPED_TEST(PackingTest, LayoutIsLittleEndian) {
  constexpr int kBits = TypeParam::value;
  constexpr int kHeadDim = 32;
  for (int j = 0; j < kHeadDim; ++j) {
    for (int bit = 0; bit < kBits; ++bit) {
      std::vector<uint8_t> codes(kHeadDim, 0);
      codes[static_cast<size_t>(j)] = static_cast<uint8_t>(1 << bit);
      std::vector<uint8_t> packed(static_cast<size_t>(packed_bytes(kBits, kHeadDim)));
      pack_codes<kBits>(codes.data(), kHeadDim, packed.data());
      int expected = kBits * j + bit;
      if (kBits == 3) expected = bit == 2 ? 2 * kHeadDim + j : 2 * j + bit;
      for (int i = 0; i < kBits * kHeadDim; ++i) {
        ASSERT_EQ(packed[static_cast<size_t>(i / 8)] >> (i % 8) & 1, i == expected);
      }
    }
  }
}

}  // namespace
}  // namespace kvg
