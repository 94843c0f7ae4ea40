#include "kernels/cuda/fused/prepare_heads.h"

#include "kernels/cuda/fused/fused_test_util.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/reference/prepare_heads.h"

#include <limits>
#include <string>
#include <vector>

namespace kvg::cuda {
namespace {

constexpr double kTolerance = 4e-3;  // results are rounded to bf16

struct Case {
  int64_t rows = 3;
  int heads = 4, kv_heads = 2, head_dim = 128;
  bool two_streams = false;  // theta and lambda
  bool negate_lambda = false;
  bool gated = false;
  bool two_frames = false;
  RopeSettings rope;
  int64_t first_position = 3000000;  // where a float angle has no fraction left

  int64_t vectors() const { return heads + 2 * kv_heads; }
  int64_t width() const {
    return vectors() * head_dim + (two_streams ? heads : 0) + (gated ? 1 : 0);
  }
  int64_t q_rows() const { return rows * (two_frames ? 2 : 1); }
  size_t q_size() const {
    return static_cast<size_t>(q_rows() * (two_streams ? 2 : 1) * heads * head_dim);
  }
  size_t kv_size() const { return static_cast<size_t>(rows * kv_heads * head_dim); }
};

struct Results {
  std::vector<double> q, k, v, lambda, gate;
};

// Poisoned: what an operation does not write stays NaN.
Results results(const Case& c) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  return {std::vector<double>(c.q_size(), nan), std::vector<double>(c.kv_size(), nan),
          std::vector<double>(c.kv_size(), nan),
          std::vector<double>(c.two_streams ? static_cast<size_t>(c.rows * c.heads) : 0, nan),
          std::vector<double>(static_cast<size_t>(c.rows), nan)};
}

struct Inputs {
  std::vector<double> fused, theta;
  std::vector<int64_t> positions, bank_positions;

  explicit Inputs(const Case& c)
      : fused(random_values(static_cast<size_t>(c.rows * c.width()), DType::bf16, 11)) {
    if (c.two_streams) {
      theta = random_values(static_cast<size_t>(c.heads * c.head_dim / 2), DType::f32, 12);
      for (double& angle : theta) angle = static_cast<float>(3 * angle);  // beyond one turn
    }
    for (int64_t row = 0; row < c.rows; ++row) {
      positions.push_back(c.first_position + 7 * row);
      if (c.two_frames) bank_positions.push_back(std::min(positions.back(), 100 + row));
    }
  }
};

template <typename T>
Tensor host(std::vector<T>& values, std::initializer_list<int64_t> shape) {
  if (values.empty()) return {};
  return {values.data(), dtype_of<T>(), Device::cpu, shape};
}

Results by_reference(const Case& c, Inputs inputs) {
  Results r = results(c);
  const int64_t streams = c.two_streams ? 2 : 1;
  const int64_t heads = c.heads, kv_heads = c.kv_heads, head_dim = c.head_dim;
  PrepareHeadsParams p;
  p.fused = host(inputs.fused, {c.rows, c.width()});
  p.positions = host(inputs.positions, {c.rows});
  p.bank_positions = host(inputs.bank_positions, {c.rows});
  p.rope = c.rope;
  p.heads = c.heads;
  p.kv_heads = c.kv_heads;
  p.head_dim = c.head_dim;
  p.theta = host(inputs.theta, {heads, head_dim / 2});
  p.lambda_column = c.two_streams ? static_cast<int>(c.vectors() * head_dim) : -1;
  p.negate_lambda = c.negate_lambda;
  p.gate_column = c.gated ? static_cast<int>(c.width() - 1) : -1;
  p.q = host(r.q, {c.q_rows(), streams, heads, head_dim});
  p.k = host(r.k, {c.rows, kv_heads, head_dim});
  p.v = host(r.v, {c.rows, kv_heads, head_dim});
  p.lambda = host(r.lambda, {c.rows, heads});
  p.gate = host(r.gate, {c.rows});
  reference::prepare_heads<double>(p);
  return r;
}

Results by_kernel(const Case& c, const Inputs& inputs) {
  Results r = results(c);
  TestBuffer fused(inputs.fused.size() * 2), q(r.q.size() * 2), k(r.k.size() * 2),
      v(r.v.size() * 2), theta(std::max<size_t>(inputs.theta.size() * 4, 4)),
      lambda(std::max<size_t>(r.lambda.size() * 4, 4)), gate(r.gate.size() * 4);
  fused.upload(inputs.fused, DType::bf16);
  theta.upload(inputs.theta, DType::f32);
  const DeviceVector<int64_t> positions(inputs.positions), bank_positions(inputs.bank_positions);
  PrepareHeadsLaunch p;
  p.fused = fused.data();
  p.positions = positions.data();
  p.bank_positions = c.two_frames ? bank_positions.data() : nullptr;
  p.theta = c.two_streams ? static_cast<const float*>(theta.data()) : nullptr;
  p.q = q.data();
  p.k = k.data();
  p.v = v.data();
  p.lambda = c.two_streams ? static_cast<float*>(lambda.data()) : nullptr;
  p.gate = static_cast<float*>(gate.data());
  p.rows = c.rows;
  p.width = c.width();
  p.heads = c.heads;
  p.kv_heads = c.kv_heads;
  p.head_dim = c.head_dim;
  p.lambda_column = c.two_streams ? static_cast<int>(c.vectors() * c.head_dim) : -1;
  p.negate_lambda = c.negate_lambda;
  p.gate_column = c.gated ? static_cast<int>(c.width() - 1) : -1;
  p.half_split = c.rope.half_split;
  p.bf16_angles = c.rope.bf16_angles;
  p.frequencies = rope_frequencies(c.rope, c.head_dim);
  KVG_CHECK_CUDA(launch(p, nullptr));
  r.q = q.download(r.q.size(), DType::bf16);
  r.k = k.download(r.k.size(), DType::bf16);
  r.v = v.download(r.v.size(), DType::bf16);
  r.lambda = lambda.download(r.lambda.size(), DType::f32);
  r.gate = gate.download(r.gate.size(), DType::f32);
  return r;
}

void expect_agreement(const Case& c) {
  const Inputs inputs(c);
  const Results expected = by_reference(c, inputs);
  const Results actual = by_kernel(c, inputs);
  EXPECT_LT(relative_norm(actual.q, expected.q), kTolerance);
  EXPECT_LT(relative_norm(actual.k, expected.k), kTolerance);
  EXPECT_EQ(actual.v, expected.v);
  if (c.two_streams) {
    EXPECT_LT(relative_norm(actual.lambda, expected.lambda), 1e-6);
  }
  EXPECT_LT(relative_norm(actual.gate, expected.gate), 1e-6);
}

using PrepareHeadsTest = GpuTest;

TEST_F(PrepareHeadsTest, MatchesTheReference) {
  for (const int64_t rows : {1, 3, 129}) {
    for (const int head_dim : {64, 128}) {
      for (int variant = 0; variant < 16; ++variant) {
        Case c;
        c.rows = rows;
        c.head_dim = head_dim;
        c.rope.half_split = variant % 2 == 0;
        c.two_streams = variant / 2 % 2 == 1;
        c.gated = variant / 4 % 2 == 1;
        c.two_frames = variant / 8 == 1;
        SCOPED_TRACE(std::to_string(rows) + " rows, head_dim " + std::to_string(head_dim) +
                     ", variant " + std::to_string(variant));
        expect_agreement(c);
      }
    }
  }
}

TEST_F(PrepareHeadsTest, MatchesTheReferenceAtTheGeometryOfMistral) {
  Case c;
  c.rows = 127;
  c.heads = 32;
  c.kv_heads = 8;
  c.two_streams = true;
  expect_agreement(c);  // width a multiple of 8
  c.negate_lambda = true;
  expect_agreement(c);
  c.gated = true;
  expect_agreement(c);  // rows that begin anywhere
}

TEST_F(PrepareHeadsTest, RoundsAnglesAsThePublishedTableDoes) {
  for (const int64_t position : {0, 1, 255, 257, 1001, 32001}) {
    Case c;
    c.rows = 5;
    c.first_position = position;
    c.rope.bf16_angles = true;
    SCOPED_TRACE(position);
    expect_agreement(c);
  }
}

TEST_F(PrepareHeadsTest, RefusesShapesItCannotServe) {
  PrepareHeadsLaunch p;
  p.rows = 1;
  p.heads = p.kv_heads = 1;
  p.head_dim = 96;
  p.width = 3 * 96;
  EXPECT_EQ(launch(p, nullptr), cudaErrorInvalidValue);
  p.head_dim = 128;
  EXPECT_EQ(launch(p, nullptr), cudaErrorInvalidValue);  // rows too short for q, k and v
}

}  // namespace
}  // namespace kvg::cuda
