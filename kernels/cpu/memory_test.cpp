#include "base/error.h"
#include "kernels/cpu/ops_test_util.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

class MemoryTest : public testing::Test {
 protected:
  std::vector<Ops*> both() { return {sets_.reference.get(), sets_.cpu.get()}; }
  Sets sets_;
};

TEST_F(MemoryTest, BuffersAreAlignedAndZero) {
  for (Ops* ops : both()) {
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{65}, size_t{1} << 20}) {
      const auto buffer = ops->allocate(bytes);
      EXPECT_EQ(buffer->bytes(), bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
      const auto* data = static_cast<const uint8_t*>(buffer->data());
      EXPECT_TRUE(std::all_of(data, data + bytes, [](uint8_t byte) { return byte == 0; }));
    }
  }
}

// A request beyond any machine must come back as an error with both sizes, before memory is
// touched.
TEST_F(MemoryTest, TooMuchIsAnErrorThatNamesTheSize) {
  for (Ops* ops : both()) {
    try {
      ops->allocate(size_t{1} << 50);
      FAIL() << "a petabyte was granted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("1125.9 TB needed"));
      EXPECT_THAT(error.what(), testing::HasSubstr("at most"));
    }
  }
}

TEST_F(MemoryTest, SeveralUploadsAtOnce) {
  std::vector<double> f64 = {1.5, -2};
  std::vector<float> f32 = {3, 4, 5};
  for (Ops* ops : both()) {
    std::vector<float> to(6, -1);
    const auto tensor = [](auto* data, DType type, int64_t n) {
      return Tensor(data, type, Device::cpu, {n});
    };
    const std::vector<UploadParams> uploads = {
        {tensor(f64.data(), DType::f64, 2), tensor(&to[4], DType::f32, 2)},
        {tensor(f32.data(), DType::f32, 3), tensor(&to[0], DType::f32, 3)},
        {tensor(f32.data(), DType::f32, 0), tensor(&to[3], DType::f32, 0)}};
    ops->upload_all(uploads);
    EXPECT_EQ(to, (std::vector<float>{3, 4, 5, -1, 1.5, -2}));
    ops->upload_all({});
  }
}

TEST_F(MemoryTest, UploadConverts) {
  std::vector<double> f64 = {1.0, -0.5, 3.140625, 65504.0};
  std::vector<float> f32(f64.begin(), f64.end());
  std::vector<uint16_t> f16;
  std::vector<uint16_t> bf16;
  for (const float x : f32) {
    f16.push_back(float_to_f16(x));
    bf16.push_back(float_to_bf16(x));
  }
  const auto host = [](void* data, DType dtype) {
    return Tensor(data, dtype, Device::cpu, {2, 2});
  };
  for (Ops* ops : both()) {
    for (const Tensor& from : {host(f64.data(), DType::f64), host(f32.data(), DType::f32),
                               host(f16.data(), DType::f16), host(bf16.data(), DType::bf16)}) {
      Twin out = Twin::output({4});
      ops->upload(from, out.on(*ops));
      for (size_t i = 0; i < 4; ++i) {
        const double expected =
            from.dtype == DType::bf16 ? static_cast<double>(bf16_to_float(bf16[i])) : f64[i];
        const double found = ops->activation() == DType::f64 ? out.wide()[i] : out.narrow()[i];
        EXPECT_EQ(found, expected) << dtype_name(from.dtype);
      }
    }
  }
}

TEST_F(MemoryTest, UploadRefusesWhatHasNoMeaning) {
  std::vector<uint8_t> bytes(4);
  for (Ops* ops : both()) {
    Twin out = Twin::output({4});
    EXPECT_THROW(ops->upload(Tensor(bytes.data(), DType::u8, Device::cpu, {4}), out.on(*ops)),
                 Error);
    Twin shorter = Twin::output({3});
    std::vector<float> four(4);
    EXPECT_THROW(ops->upload(view(four), shorter.on(*ops)), std::logic_error);
  }
}

TEST_F(MemoryTest, CopyMovesBytes) {
  const std::vector<uint8_t> from = {1, 2, 3, 4, 5};
  for (Ops* ops : both()) {
    std::vector<uint8_t> to(5);
    ops->copy(to.data(), from.data(), from.size());
    EXPECT_EQ(to, from);
    ops->copy(nullptr, nullptr, 0);
  }
}

}  // namespace
}  // namespace kvg::ops_test
