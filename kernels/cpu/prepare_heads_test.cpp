#include "kernels/cpu/ops_test_util.h"

#include <complex>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

// One call of prepare_heads with its memory; outputs start as NaN.
struct HeadsCase {
  int64_t rows = 3;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 64;
  bool coda = false;  // theta, lambda and gate
  bool negate_lambda = false;
  RopeSettings rope;
  std::vector<int64_t> positions;
  std::vector<int64_t> bank_positions;
  Twin fused, theta, q, k, v, lambda, gate;

  int64_t kv_width() const { return int64_t{kv_heads} * head_dim; }
  int64_t q_width() const { return int64_t{heads} * head_dim; }

  void draw(Random& random) {
    const int64_t streams = coda ? 2 : 1;
    const int64_t frames = bank_positions.empty() ? 1 : 2;
    const int64_t width = q_width() + 2 * kv_width() + (coda ? heads + 1 : 0);
    fused = Twin::random({rows, width}, random);
    if (coda) theta = Twin::random({heads, head_dim / 2}, random);
    q = Twin::output({frames * rows, streams, heads, head_dim});
    k = Twin::output({rows, kv_heads, head_dim});
    v = Twin::output({rows, kv_heads, head_dim});
    if (coda) lambda = Twin::output({rows, heads});
    gate = Twin::output({rows});
  }
  void run(Ops& ops) {
    PrepareHeadsParams p;
    p.fused = fused.on(ops);
    p.positions = view(positions);
    if (!bank_positions.empty()) p.bank_positions = view(bank_positions);
    p.rope = rope;
    p.heads = heads;
    p.kv_heads = kv_heads;
    p.head_dim = head_dim;
    p.theta = theta.on(ops);
    if (coda) {
      p.lambda_column = static_cast<int>(q_width() + 2 * kv_width());
      p.gate_column = p.lambda_column + heads;
      p.negate_lambda = negate_lambda;
    }
    p.q = q.on(ops);
    p.k = k.on(ops);
    p.v = v.on(ops);
    p.lambda = lambda.on(ops);
    p.gate = gate.on(ops);
    ops.prepare_heads(p);
  }
};

TEST(PrepareHeadsTest, AgreesWithTheReference) {
  Sets sets;
  Random random(kSeed + 20);
  for (const int64_t rows : {1, 3, 127}) {
    for (const int head_dim : {8, 64, 80}) {
      for (int variant = 0; variant < 8; ++variant) {
        HeadsCase c;
        c.rows = rows;
        c.head_dim = head_dim;
        c.coda = variant % 2 == 1;
        c.negate_lambda = variant / 4 == 1;
        c.rope.half_split = variant / 2 % 2 == 1;
        for (int64_t row = 0; row < rows; ++row) {
          c.positions.push_back(3000000 + 7 * row);  // where a float angle has no fraction left
          if (variant / 4 == 1) c.bank_positions.push_back(100 + row);
        }
        c.draw(random);
        c.run(*sets.reference);
        c.run(*sets.cpu);
        for (const Twin* twin : {&c.q, &c.k, &c.gate}) EXPECT_LT(twin->error(), 5e-7) << variant;
        if (c.coda) {
          EXPECT_LT(c.lambda.error(), 5e-7);
        }
        EXPECT_EQ(c.v.error(), 0);
      }
    }
  }
}

// RoPE as multiplication by exp(i * position * frequency), pair by pair.
TEST(PrepareHeadsTest, TurnsPairsByTheirAngle) {
  const auto reference = make_reference_ops();
  Random random(kSeed + 21);
  for (const bool half_split : {false, true}) {
    HeadsCase c;
    c.rope = {500.0, half_split, false};
    c.positions = {0, 5, 100003};
    c.draw(random);
    c.run(*reference);
    for (size_t row = 0; row < 3; ++row) {
      for (size_t pair = 0; pair < 32; ++pair) {
        const size_t a = half_split ? pair : 2 * pair;
        const size_t b = half_split ? pair + 32 : 2 * pair + 1;
        const double frequency = std::pow(500.0, -static_cast<double>(pair) / 32);
        const auto turn = std::polar(1.0, static_cast<double>(c.positions[row]) * frequency);
        const size_t last_q = 3 * 64;
        const double* in_q = c.fused.wide().data() + row * 512 + last_q;
        const double* out_q = c.q.wide().data() + row * 256 + last_q;
        const auto q = std::complex(in_q[a], in_q[b]) * turn;
        EXPECT_NEAR(out_q[a], q.real(), 1e-10);
        EXPECT_NEAR(out_q[b], q.imag(), 1e-10);
        const double* in_k = c.fused.wide().data() + row * 512 + 256 + 64;
        const double* out_k = c.k.wide().data() + row * 128 + 64;
        const auto k = std::complex(in_k[a], in_k[b]) * turn;
        EXPECT_NEAR(out_k[a], k.real(), 1e-10);
        EXPECT_NEAR(out_k[b], k.imag(), 1e-10);
      }
    }
  }
}

// Stream 1 is stream 0 with interleaved pairs turned by theta, whatever the RoPE pairing.
TEST(PrepareHeadsTest, SecondStreamTurnsInterleavedPairs) {
  const auto reference = make_reference_ops();
  Random random(kSeed + 22);
  for (const bool half_split : {false, true}) {
    HeadsCase c;
    c.coda = true;
    c.rope.half_split = half_split;
    c.positions = {11, 12, 13};
    c.draw(random);
    c.run(*reference);
    for (size_t row = 0; row < 3; ++row) {
      const double* q = c.q.wide().data() + row * 512;
      for (size_t i = 0; i < 256; i += 2) {
        const auto turned = std::complex(q[i], q[i + 1]) * std::polar(1.0, c.theta.wide()[i / 2]);
        EXPECT_NEAR(q[256 + i], turned.real(), 1e-12);
        EXPECT_NEAR(q[256 + i + 1], turned.imag(), 1e-12);
      }
    }
  }
}

TEST(PrepareHeadsTest, LambdaAndGateAreSigmoids) {
  const auto reference = make_reference_ops();
  Random random(kSeed + 23);
  HeadsCase c;
  c.coda = true;
  c.positions = {1, 2, 3};
  c.draw(random);
  c.run(*reference);
  const auto sigmoid = [](double x) { return 0.5 * (1 + std::tanh(x / 2)); };
  for (size_t row = 0; row < 3; ++row) {
    const double* extra = c.fused.wide().data() + row * 517 + 512;
    for (size_t h = 0; h < 4; ++h)
      EXPECT_NEAR(c.lambda.wide()[row * 4 + h], sigmoid(extra[h]), 1e-14);
    EXPECT_NEAR(c.gate.wide()[row], sigmoid(extra[4]), 1e-14);
  }
  std::vector<double> negated = c.lambda.wide();
  for (double& lambda : negated) lambda = -lambda;
  c.negate_lambda = true;
  c.run(*reference);
  EXPECT_EQ(c.lambda.wide(), negated);
  HeadsCase plain;
  plain.positions = {1, 2, 3};
  plain.draw(random);
  plain.run(*reference);
  EXPECT_EQ(plain.gate.wide(), (std::vector<double>{1, 1, 1}));
}

// The published bf16 table against PyTorch's own; make_bf16_rope.py wrote the file.
TEST(PrepareHeadsTest, Bf16AnglesAreThoseOfPyTorch) {
  std::ifstream file(std::string(KVG_SOURCE_DIR) + "/kernels/reference/golden/bf16_rope.txt");
  std::string line;
  int lines = 0;
  const auto reference = make_reference_ops();
  Random random(kSeed + 24);
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    HeadsCase c;
    c.rows = 1;
    c.positions.resize(1);
    c.rope.bf16_angles = true;
    ASSERT_TRUE(fields >> c.rope.base >> c.head_dim >> c.positions[0]);
    c.draw(random);
    const auto pairs = static_cast<size_t>(c.head_dim / 2);
    // A head of (1, 0) pairs comes back as cosines and sines.
    for (size_t i = 0; i < 2 * pairs; ++i) c.fused.wide()[i] = i < pairs ? 1 : 0;
    c.run(*reference);
    for (size_t i = 0; i < 2 * pairs; ++i) {
      unsigned bits = 0;
      ASSERT_TRUE(fields >> std::hex >> bits);
      EXPECT_EQ(c.q.wide()[i], bf16_to_float(static_cast<uint16_t>(bits))) << line.substr(0, 20);
    }
    ++lines;
  }
  EXPECT_EQ(lines, 32);
}

// What the defect does: neighbouring positions collapse beyond 256.
TEST(PrepareHeadsTest, Bf16AnglesMergeNeighbouringPositions) {
  const auto reference = make_reference_ops();
  Random random(kSeed + 25);
  for (const bool bf16_angles : {false, true}) {
    HeadsCase c;
    c.rows = 2;
    c.rope.bf16_angles = bf16_angles;
    c.positions = {256, 257};
    c.draw(random);
    const size_t width = c.fused.wide().size() / 2;
    std::copy_n(c.fused.wide().begin(), width, c.fused.wide().begin() + static_cast<long>(width));
    c.run(*reference);
    const std::vector<double>& q = c.q.wide();
    EXPECT_EQ(std::equal(q.begin(), q.begin() + 256, q.begin() + 256), bf16_angles);
  }
}

TEST(PrepareHeadsTest, RefusesWhatDoesNotFit) {
  const auto reference = make_reference_ops();
  Random random(kSeed);
  HeadsCase later;
  later.positions = {5, 6, 7};
  later.bank_positions = {5, 7, 7};  // in-cache position after the token's own
  later.draw(random);
  EXPECT_THROW(later.run(*reference), std::logic_error);
  HeadsCase frames;
  frames.positions = {5, 6, 7};
  frames.draw(random);
  frames.bank_positions = {1, 2, 3};  // but room for one frame only
  EXPECT_THROW(frames.run(*reference), std::logic_error);
}

}  // namespace
}  // namespace kvg::ops_test
