// The codecs on the device against the host's, codec by codec: codes, scales, decoded vectors,
// tiles, rotations.

#include "kernels/cuda/codec/codec_test_kernels.h"
#include "kernels/cuda/codec/codec_test_util.h"
#include "kernels/cuda/codec/slots.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace kvg::cuda {
namespace {

constexpr int kHeads = 3;
constexpr int32_t kLayer = 2;
constexpr int64_t kCapacity = 40;
constexpr int64_t kRows = 37;
constexpr int64_t kFirst = 20;  // wraps around

class CudaCodecTest : public GpuTest, public ::testing::WithParamInterface<CodecCase> {
 protected:
  int d() const { return GetParam().head_dim; }
  int64_t width() const { return int64_t{kHeads} * d(); }
  bool eden() const { return GetParam().spec.kind == CodecKind::eden; }
};

Tensor tensor(std::vector<float>& values, int64_t rows, int d) {
  return Tensor(values.data(), DType::f32, Device::cpu, {rows, kHeads, d});
}

// What the host's float methods make of rows, from kFirst on.
HostSlots host_store(const Codec& codec, const std::vector<double>& k,
                     const std::vector<double>& v) {
  const int d = codec.head_dim();
  HostSlots slots(codec, kHeads, kCapacity);
  std::vector<float> narrow_k(k.begin(), k.end());
  std::vector<float> narrow_v(v.begin(), v.end());
  const auto rows = static_cast<int64_t>(k.size()) / (kHeads * d);
  reference::store<float>({tensor(narrow_k, rows, d), tensor(narrow_v, rows, d), kLayer,
                           slots.store(codec, kCapacity), kFirst});
  return slots;
}

HostSlots device_store(const Codec& codec, const std::vector<double>& k,
                       const std::vector<double>& v) {
  const TestCodec device(codec, kLayer + 1, kHeads);
  const TestSlots slots(device.device(), kHeads, kCapacity);
  TestBuffer in_k(2 * k.size());
  TestBuffer in_v(2 * v.size());
  in_k.upload(k, DType::bf16);
  in_v.upload(v, DType::bf16);
  StoreLaunch p;
  p.k = in_k.data();
  p.v = in_v.data();
  p.slots = slots.slots();
  p.first_slot = kFirst;
  p.rows = static_cast<int64_t>(k.size()) / (kHeads * codec.head_dim());
  p.kv_heads = kHeads;
  p.layer = kLayer;
  KVG_CHECK_CUDA(launch(p, nullptr));
  HostSlots result(codec, kHeads, kCapacity);
  slots.download(result);
  return result;
}

int64_t differences(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

// fp16 patterns at most one apart.
void expect_neighbours(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_LE(std::abs(int{a[i]} - int{b[i]}), 1) << i;
}

TEST_P(CudaCodecTest, StoresWhatTheHostStores) {
  const auto codec = GetParam().make();
  const auto k = uneven_rows(kRows, width(), 1);
  const auto v = uneven_rows(kRows, width(), 2);
  const HostSlots expected = host_store(*codec, k, v);
  const HostSlots stored = device_store(*codec, k, v);
  // Slots that nobody wrote must still be poisoned, which equality covers.
  const int64_t allowed = eden() ? 3 : 0;  // coordinates within rounding of a threshold
  EXPECT_LE(differences(stored.k_codes, expected.k_codes), allowed);
  EXPECT_LE(differences(stored.v_codes, expected.v_codes), allowed);
  if (eden()) {
    expect_neighbours(stored.k_scales, expected.k_scales);
    expect_neighbours(stored.v_scales, expected.v_scales);
  } else {
    EXPECT_EQ(stored.k_scales, expected.k_scales);
    EXPECT_EQ(stored.v_scales, expected.v_scales);
  }
  const HostSlots again = device_store(*codec, k, v);
  EXPECT_EQ(again.k_codes, stored.k_codes);
  EXPECT_EQ(again.v_scales, stored.v_scales);
}

TEST_P(CudaCodecTest, LoadsWhatTheHostLoads) {
  const auto codec = GetParam().make();
  const auto k = uneven_rows(kRows, width(), 3);
  const auto v = uneven_rows(kRows, width(), 4);
  HostSlots encoded = host_store(*codec, k, v);
  std::vector<float> want_k(k.size());
  std::vector<float> want_v(v.size());
  reference::load<float>({tensor(want_k, kRows, d()), tensor(want_v, kRows, d()), kLayer,
                          encoded.store(*codec, kCapacity), kFirst});

  const TestCodec device(*codec, kLayer + 1, kHeads);
  const TestSlots slots(device.device(), kHeads, kCapacity);
  slots.upload(encoded);
  TestBuffer out_k(2 * k.size());
  TestBuffer out_v(2 * v.size());
  LoadLaunch p;
  p.k = out_k.data();
  p.v = out_v.data();
  p.slots = slots.slots();
  p.first_slot = kFirst;
  p.rows = kRows;
  p.kv_heads = kHeads;
  p.layer = kLayer;
  KVG_CHECK_CUDA(launch(p, nullptr));
  for (const bool value : {false, true}) {
    const std::vector<float>& want = value ? want_v : want_k;
    const auto got = (value ? out_v : out_k).download(want.size(), DType::bf16);
    for (size_t i = 0; i < want.size(); ++i) {
      if (eden()) break;  // sums in another order
      ASSERT_EQ(static_cast<float>(got[i]), bf16_to_float(float_to_bf16(want[i]))) << i;
    }
    EXPECT_LT(relative_norm(got, std::vector<double>(want.begin(), want.end())), 3e-3);
  }
}

TEST_P(CudaCodecTest, TilesAreWhatIsStored) {
  const auto codec = GetParam().make();
  const auto k = uneven_rows(kRows, width(), 5);
  HostSlots encoded = host_store(*codec, k, k);
  const TestCodec device(*codec, kLayer + 1, kHeads);
  const TestSlots slots(device.device(), kHeads, kCapacity);
  slots.upload(encoded);
  for (const int rows : {0, 1, 7, 30, 37}) {
    const int head = rows % kHeads;
    const int tile_rows = rows == 30 ? 32 : 64;
    TestBuffer out(static_cast<size_t>(4 * tile_rows * d()));
    TestBuffer factor(static_cast<size_t>(4 * tile_rows));
    TileTestLaunch p;
    p.codec = device.device();
    p.capacity = kCapacity;
    p.codes = slots.slots().k_codes + head * kCapacity * codec->code_bytes();
    if (p.codec.scaled) p.scales = slots.slots().k_scales + head * kCapacity;
    p.first = kFirst;
    p.rows = rows;
    p.tile_rows = tile_rows;
    p.out = static_cast<float*>(out.data());
    p.factor = static_cast<float*>(factor.data());
    KVG_CHECK_CUDA(launch(p, nullptr));
    const auto got = out.download(static_cast<size_t>(tile_rows * d()), DType::f32);
    const auto scale = factor.download(static_cast<size_t>(tile_rows), DType::f32);

    std::vector<double> want(static_cast<size_t>(tile_rows * d()), 0.0);
    const auto array = reference::slot_array(encoded.store(*codec, kCapacity), head, false);
    reference::decode_slots(array, kFirst, rows, want.data());
    const bool rounded = eden() || GetParam().spec.kind == CodecKind::f32;
    const double tolerance = rounded ? 0x1p-8 : 0;
    for (int row = 0; row < tile_rows; ++row) {
      const double s = scale[static_cast<size_t>(row)];
      if (row >= rows || !p.codec.scaled) {
        ASSERT_EQ(s, 1.0);
      }
      for (int i = 0; i < d(); ++i) {
        const auto at = static_cast<size_t>(row * d() + i);
        ASSERT_NEAR(got[at] * s, want[at], tolerance * std::fabs(want[at]))
            << "rows " << rows << " row " << row << " coordinate " << i;
      }
    }
  }
}

TEST_P(CudaCodecTest, FrameIsTheHosts) {
  const auto codec = GetParam().make();
  const TestCodec device(*codec, kLayer + 1, kHeads);
  const int64_t rows = 5;
  for (const bool back : {false, true}) {
    std::vector<float> want;
    for (const double x : random_values(static_cast<size_t>(rows * d()), DType::f32, 6)) {
      want.push_back(static_cast<float>(x));
    }
    TestBuffer x(4 * want.size());
    x.upload(std::vector<double>(want.begin(), want.end()), DType::f32);
    FrameTestLaunch p;
    p.codec = device.device();
    p.layer = kLayer;
    p.kv_head = 1;
    p.value = true;
    p.back = back;
    p.x = static_cast<float*>(x.data());
    p.rows = static_cast<int>(rows);
    KVG_CHECK_CUDA(launch(p, nullptr));
    const CodecSite site{kLayer, 1, true};
    if (back) {
      codec->from_frame(site, want.data(), rows);
    } else {
      codec->to_frame(site, want.data(), rows);
    }
    const auto got = x.download(want.size(), DType::f32);
    EXPECT_LT(relative_norm(got, std::vector<double>(want.begin(), want.end())), 2e-6);
  }
}

// NaN, infinity, the largest and the smallest numbers: as the host treats them.
TEST_P(CudaCodecTest, ExtremeVectors) {
  const auto codec = GetParam().make();
  const int64_t rows = 8;
  auto k = random_values(static_cast<size_t>(rows * width()), DType::bf16, 7);
  for (int64_t i = 0; i < width(); ++i) {
    k[static_cast<size_t>(1 * width() + i)] *= 0x1p120;
    k[static_cast<size_t>(2 * width() + i)] *= 0x1p-105;
    k[static_cast<size_t>(3 * width() + i)] *= 0x1p-28;  // scales among fp16's subnormal numbers
    k[static_cast<size_t>(4 * width() + i)] *= 0x1p20;
  }
  k[static_cast<size_t>(5 * width() + d() / 2)] = std::numeric_limits<double>::quiet_NaN();
  k[static_cast<size_t>(6 * width() + d() - 1)] = -std::numeric_limits<double>::infinity();
  HostSlots expected = host_store(*codec, k, k);
  HostSlots stored = device_store(*codec, k, k);
  std::vector<float> want(k.size());
  std::vector<float> got(k.size());
  std::vector<float> unused(k.size());
  reference::load<float>({tensor(want, rows, d()), tensor(unused, rows, d()), kLayer,
                          expected.store(*codec, kCapacity), kFirst});
  reference::load<float>({tensor(got, rows, d()), tensor(unused, rows, d()), kLayer,
                          stored.store(*codec, kCapacity), kFirst});
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width(); ++i) {
      const auto at = static_cast<size_t>(row * width() + i);
      if (std::isnan(want[at]) || std::isinf(want[at])) {
        ASSERT_EQ(std::isnan(got[at]), std::isnan(want[at])) << row << " " << i;
        if (std::isinf(want[at])) {
          ASSERT_EQ(got[at], want[at]) << row << " " << i;
        }
      } else if (!eden()) {
        ASSERT_EQ(got[at], want[at]) << row << " " << i;
      } else {
        // A scale of few bits may be the neighbouring one.
        const float unit = row == 3 ? 0.02f : 2e-3f;
        const int64_t head = row * width() + i / d() * d();
        const float longest = std::fabs(
            *std::max_element(want.begin() + head, want.begin() + head + d(),
                              [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
        ASSERT_NEAR(got[at], want[at], unit * longest) << row << " " << i;
      }
    }
  }
}

class CudaF32CodecTest : public CudaCodecTest {};

// Any bits: NaN, infinity, halfway between two numbers of bf16.
TEST_P(CudaF32CodecTest, FloatsAreTheHosts) {
  const auto codec = GetParam().make();
  const int rows = 300;
  Random random(9);
  std::vector<float> x(static_cast<size_t>(rows * d()));
  for (float& value : x) {
    auto bits = static_cast<uint32_t>(random.below(uint64_t{1} << 32));
    if (random.below(4) == 0) bits = (bits & 0xffff0000u) + 0x8000u;
    if (random.below(8) == 0) bits |= 0x7f800000u;
    if (random.below(8) == 0) bits |= 0x7fff8000u;
    value = std::bit_cast<float>(bits);
  }
  std::vector<uint8_t> codes(static_cast<size_t>(rows * codec->code_bytes()));
  std::vector<float> decoded(x.size());
  codec->encode({}, x.data(), rows, codes.data(), nullptr);
  codec->decode(codes.data(), nullptr, rows, decoded.data());

  const TestCodec device(*codec, 1, 1);
  const TestBuffer in(4 * x.size()), stored(codes.size()), out(4 * x.size());
  KVG_CHECK_CUDA(cudaMemcpy(in.data(), x.data(), 4 * x.size(), cudaMemcpyHostToDevice));
  FloatTestLaunch p;
  p.codec = device.device();
  p.x = static_cast<const float*>(in.data());
  p.codes = static_cast<uint8_t*>(stored.data());
  p.back = static_cast<float*>(out.data());
  p.rows = rows;
  KVG_CHECK_CUDA(launch(p, nullptr));
  std::vector<uint8_t> got_codes(codes.size());
  std::vector<float> got(x.size());
  KVG_CHECK_CUDA(cudaMemcpy(got_codes.data(), stored.data(), codes.size(), cudaMemcpyDeviceToHost));
  KVG_CHECK_CUDA(cudaMemcpy(got.data(), out.data(), 4 * x.size(), cudaMemcpyDeviceToHost));
  EXPECT_EQ(got_codes, codes);
  EXPECT_EQ(std::memcmp(got.data(), decoded.data(), 4 * x.size()), 0);
}

std::vector<CodecCase> f32_cases() {
  std::vector<CodecCase> cases = all_codec_cases();
  std::erase_if(cases, [](const CodecCase& c) { return c.spec.kind != CodecKind::f32; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, CudaCodecTest, testing::ValuesIn(all_codec_cases()),
                         [](const auto& instance) { return instance.param.name; });
INSTANTIATE_TEST_SUITE_P(All, CudaF32CodecTest, testing::ValuesIn(f32_cases()),
                         [](const auto& instance) { return instance.param.name; });

// vNMSE with least-squares scales at head_dim 128 (codec_error_law_test.cpp has the law).
class CudaErrorLawTest : public GpuTest, public ::testing::WithParamInterface<int> {};

TEST_P(CudaErrorLawTest, OfLeastSquares) {
  constexpr int kDim = 128;
  constexpr int64_t kVectors = 1500;
  const auto codec = Codec::make(
      {.kind = CodecKind::eden, .bits = GetParam(), .scale = EdenScale::ls, .seed = 5}, kDim);
  const TestCodec device(*codec, 1, 1);
  const TestSlots slots(device.device(), 1, kVectors);
  const auto x = random_values(static_cast<size_t>(kVectors * kDim), DType::bf16, 8);
  TestBuffer in(2 * x.size());
  TestBuffer out(2 * x.size());
  in.upload(x, DType::bf16);
  StoreLaunch store;
  store.k = store.v = in.data();
  store.slots = slots.slots();
  store.rows = kVectors;
  store.kv_heads = 1;
  KVG_CHECK_CUDA(launch(store, nullptr));
  LoadLaunch load;
  load.k = load.v = out.data();
  load.slots = slots.slots();
  load.rows = kVectors;
  load.kv_heads = 1;
  KVG_CHECK_CUDA(launch(load, nullptr));
  const auto decoded = out.download(x.size(), DType::bf16);
  const double error = relative_norm(decoded, x);
  const double law[] = {0.3605, 0.1153, 0.0335, 0.00916};
  EXPECT_NEAR(error * error / law[GetParam() - 1], 1, 0.02);
}

INSTANTIATE_TEST_SUITE_P(Bits, CudaErrorLawTest, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace kvg::cuda
