#pragma once

#include "kernels/codec.h"
#include "kernels/cuda/attention/prefill.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/ops.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

// Prefill attention on the device next to the reference in double precision, both over the same
// stored bytes.
namespace kvg::cuda {

inline constexpr double kTolerance =
    1e-2;  // by norm; bf16 weights and results are typically at 3e-3

// What decides which slots a group has and who reads them.
inline AttentionGroup slots(int64_t first_slot, int64_t count, int64_t first_position = -1,
                            int64_t window = 0, int query_frame = 0) {
  AttentionGroup group;
  group.first_slot = first_slot;
  group.count = count;
  group.first_position = first_position;
  group.window = window;
  group.query_frame = query_frame;
  return group;
}

// Bytes on the device.
class DeviceBytes {
 public:
  DeviceBytes() = default;
  template <typename T>
  explicit DeviceBytes(const std::vector<T>& values) {
    if (values.empty()) return;
    memory_ = std::make_unique<TestBuffer>(values.size() * sizeof(T));
    KVG_CHECK_CUDA(cudaMemcpy(memory_->data(), values.data(), values.size() * sizeof(T),
                              cudaMemcpyHostToDevice));
  }
  template <typename T>
  T* as() const {
    return memory_ ? static_cast<T*>(memory_->data()) : nullptr;
  }

 private:
  std::unique_ptr<TestBuffer> memory_;
};

// Slots full of random K and V (V around `offset`), on both sides.
class PrefillStore {
 public:
  PrefillStore(const Codec& k_codec, const Codec& v_codec, int kv_heads, int64_t capacity,
               int32_t layer, Random& random, double offset = 0)
      : k_codes_(bytes(kv_heads, capacity, k_codec.code_bytes())),
        v_codes_(bytes(kv_heads, capacity, v_codec.code_bytes())),
        k_scales_(bytes(kv_heads, capacity, k_codec.scale_bytes() / 2)),
        v_scales_(bytes(kv_heads, capacity, v_codec.scale_bytes() / 2)) {
    const int head_dim = k_codec.head_dim();
    std::vector<double> k(bytes(kv_heads, capacity, head_dim)), v(k.size());
    for (double& x : k) x = random.normal();
    for (double& x : v) x = offset + random.normal();
    host_ = {&k_codec,        &v_codec,         capacity,        k_codes_.data(),
             v_codes_.data(), k_scales_.data(), v_scales_.data()};
    const Tensor rows(k.data(), DType::f64, Device::cpu, {capacity, kv_heads, head_dim});
    Tensor v_rows = rows;
    v_rows.data = v.data();
    make_reference_ops()->store({rows, v_rows, layer, host_, 0});
    copies_[0] = DeviceBytes(k_codes_);
    copies_[1] = DeviceBytes(v_codes_);
    copies_[2] = DeviceBytes(k_scales_);
    copies_[3] = DeviceBytes(v_scales_);
    device_ = {&k_codec,
               &v_codec,
               capacity,
               copies_[0].as<uint8_t>(),
               copies_[1].as<uint8_t>(),
               copies_[2].as<uint16_t>(),
               copies_[3].as<uint16_t>()};
  }
  PrefillStore(const PrefillStore&) = delete;
  PrefillStore& operator=(const PrefillStore&) = delete;

  // Slots [begin, end), or only their keys, become what is not a number.
  void spoil(int64_t begin, int64_t end, bool values = true) {
    for (std::vector<uint8_t>* codes : {&k_codes_, &v_codes_}) {
      if (codes == &v_codes_ && !values) continue;
      const auto slot_bytes = static_cast<size_t>(host_.k_codec->code_bytes());
      const auto head_bytes = static_cast<size_t>(host_.capacity) * slot_bytes;
      for (size_t head = 0; head < codes->size(); head += head_bytes) {
        for (size_t i = static_cast<size_t>(begin) * slot_bytes;
             i < static_cast<size_t>(end) * slot_bytes; ++i) {
          (*codes)[head + i] = 0xff;
        }
      }
      DeviceBytes& copy = copies_[codes == &k_codes_ ? 0 : 1];
      KVG_CHECK_CUDA(
          cudaMemcpy(copy.as<uint8_t>(), codes->data(), codes->size(), cudaMemcpyHostToDevice));
    }
  }

  const SlotStore& host() const { return host_; }
  const SlotStore& device() const { return device_; }

 private:
  static size_t bytes(int64_t a, int64_t b, int64_t c) { return static_cast<size_t>(a * b * c); }

  std::vector<uint8_t> k_codes_, v_codes_;
  std::vector<uint16_t> k_scales_, v_scales_;
  DeviceBytes copies_[4];
  SlotStore host_, device_;
};

struct PrefillShape {
  int64_t rows = 1;
  int heads = 4;
  int kv_heads = 1;
  int head_dim = 128;
  int streams = 2;
  int frames = 1;
  bool head_norm = false;
};

// One call: inputs, blocks and outputs on both sides.
class PrefillTestCase {
 public:
  static constexpr int32_t kLayer = 3;

  PrefillTestCase(const PrefillShape& shape, Random& random) : shape_(shape) {
    const int64_t q_rows = shape.frames * shape.rows * shape.streams * shape.heads;
    q_ =
        random_values(static_cast<size_t>(q_rows * shape.head_dim), DType::bf16, random.next_u64());
    if (shape.streams == 2) {
      lambda_ = random_values(static_cast<size_t>(shape.rows * shape.heads), DType::f32,
                              random.next_u64());
    }
    if (shape.head_norm) {
      norm_ = random_values(static_cast<size_t>(shape.head_dim), DType::bf16, random.next_u64());
    }
    out_.resize(static_cast<size_t>(shape.rows * shape.heads * shape.head_dim));
    device_out_ = std::make_unique<TestBuffer>(out_.size() * 2);
  }

  std::vector<double>& q() { return q_; }

  // Log of the sums of exponentials [rows, streams, heads], on both sides.
  struct LogSums {
    std::vector<double> expected, got;
  };
  LogSums log_sums(CudaContext& context) {
    LogSums sums;
    sums.expected.resize(static_cast<size_t>(shape_.rows * shape_.streams * shape_.heads));
    log_sum_ = &sums;
    (void)expect();
    (void)run(context);
    log_sum_ = nullptr;
    return sums;
  }

  void add_block(int64_t row_begin, int64_t rows, int64_t first_position) {
    host_blocks_.push_back({row_begin, rows, first_position, {}});
    device_blocks_.push_back(host_blocks_.back());
  }
  // A group of the last block; `group` says all but the memory.
  void add_group(const PrefillStore& store, AttentionGroup group,
                 const std::vector<uint8_t>& valid = {},
                 const std::vector<float>& log_weight = {}) {
    group.store = store.host();
    kept_.push_back(std::make_unique<Masks>(valid, log_weight));
    const Masks& masks = *kept_.back();
    if (!valid.empty()) group.valid = masks.valid.data();
    if (!log_weight.empty()) group.log_weight = masks.log_weight.data();
    host_blocks_.back().groups.push_back(group);
    group.store = store.device();
    group.valid = masks.device_valid.as<uint8_t>();
    group.log_weight = masks.device_log_weight.as<float>();
    device_blocks_.back().groups.push_back(group);
  }
  void add_empty_group() {
    host_blocks_.back().groups.emplace_back();
    device_blocks_.back().groups.emplace_back();
  }

  // Runs the reference; rows of no block are NaN.
  const std::vector<double>& expect() {
    std::fill(out_.begin(), out_.end(), std::numeric_limits<double>::quiet_NaN());
    AttentionParams p = params(Device::cpu, DType::f64, DType::f64);
    p.q.data = q_.data();
    if (p.lambda.rank > 0) p.lambda.data = lambda_.data();
    if (p.head_norm.rank > 0) p.head_norm.data = norm_.data();
    p.out.data = out_.data();
    if (log_sum_ != nullptr) {
      p.log_sum = Tensor(log_sum_->expected.data(), DType::f64, Device::cpu,
                         {shape_.rows, shape_.streams, shape_.heads});
    }
    p.blocks = host_blocks_;
    make_reference_ops()->attention(p);
    return out_;
  }
  // Runs the device on a poisoned output.
  std::vector<double> run(CudaContext& context) {
    AttentionParams p = params(Device::cuda, DType::bf16, DType::f32);
    const TestBuffer q(q_.size() * 2), lambda(lambda_.size() * 4 + 4), norm(norm_.size() * 2 + 2);
    upload(q, q_, DType::bf16, &p.q);
    upload(lambda, lambda_, DType::f32, &p.lambda);
    upload(norm, norm_, DType::bf16, &p.head_norm);
    KVG_CHECK_CUDA(cudaMemset(device_out_->data(), 0xff, out_.size() * 2));
    p.out.data = device_out_->data();
    p.blocks = device_blocks_;
    const TestBuffer log_sum(log_sum_ != nullptr ? 4 * log_sum_->expected.size() : 4);
    if (log_sum_ != nullptr) {
      p.log_sum = Tensor(log_sum.data(), DType::f32, Device::cuda,
                         {shape_.rows, shape_.streams, shape_.heads});
    }
    prefill_attention(context, p);
    context.synchronize();
    if (log_sum_ != nullptr) {
      log_sum_->got =
          const_cast<TestBuffer&>(log_sum).download(log_sum_->expected.size(), DType::f32);
    }
    return device_out_->download(out_.size(), DType::bf16);
  }
  // Both sides; |device - reference| / |reference| over the rows of blocks.
  double error(CudaContext& context) {
    const std::vector<double>& expected = expect();
    const std::vector<double> got = run(context);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(got[i])) continue;
      difference += (got[i] - expected[i]) * (got[i] - expected[i]);
      norm += expected[i] * expected[i];
    }
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  }

 private:
  struct Masks {
    Masks(const std::vector<uint8_t>& v, const std::vector<float>& w)
        : valid(v), log_weight(w), device_valid(v), device_log_weight(w) {}
    std::vector<uint8_t> valid;
    std::vector<float> log_weight;
    DeviceBytes device_valid, device_log_weight;
  };

  static void upload(const TestBuffer& to, const std::vector<double>& values, DType type,
                     Tensor* tensor) {
    if (values.empty()) return;
    TestBuffer& buffer = const_cast<TestBuffer&>(to);
    buffer.upload(values, type);
    tensor->data = to.data();
  }

  AttentionParams params(Device device, DType activation, DType wide_type) const {
    AttentionParams p;
    const PrefillShape& s = shape_;
    p.q = Tensor(nullptr, activation, device, {s.frames * s.rows, s.streams, s.heads, s.head_dim});
    p.frames = s.frames;
    p.streams = s.streams;
    p.heads = s.heads;
    p.kv_heads = s.kv_heads;
    p.head_dim = s.head_dim;
    p.layer = kLayer;
    p.scale = 1.3 / std::sqrt(s.head_dim);
    if (s.streams == 2) p.lambda = Tensor(nullptr, wide_type, device, {s.rows, s.heads});
    if (s.head_norm) p.head_norm = Tensor(nullptr, activation, device, {s.head_dim});
    p.out = Tensor(nullptr, activation, device, {s.rows, s.heads, s.head_dim});
    return p;
  }

  PrefillShape shape_;
  std::vector<double> q_, lambda_, norm_, out_;
  std::vector<AttentionBlock> host_blocks_, device_blocks_;
  std::vector<std::unique_ptr<Masks>> kept_;
  std::unique_ptr<TestBuffer> device_out_;
  LogSums* log_sum_ = nullptr;  // asked for
};

class PrefillTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!IsSkipped()) context_ = std::make_unique<CudaContext>();
  }
  CudaContext& context() { return *context_; }

  Random random_{20261122};

 private:
  std::unique_ptr<CudaContext> context_;
};

inline void expect_log_sums(const PrefillTestCase::LogSums& sums) {
  for (size_t i = 0; i < sums.expected.size(); ++i) {
    if (std::isinf(sums.expected[i])) {
      EXPECT_EQ(sums.got[i], sums.expected[i]) << i;
    } else {
      EXPECT_NEAR(sums.got[i], sums.expected[i], 1e-3) << i;
    }
  }
}

}  // namespace kvg::cuda
