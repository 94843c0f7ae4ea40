#include "kernels/cpu/ops_test_util.h"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

class ElementwiseTest : public testing::Test {
 protected:
  Sets sets_;
  Random random_{kSeed + 10};
};

TEST_F(ElementwiseTest, EmbedCopiesRows) {
  Twin table = Twin::random({17, 40}, random_);
  std::vector<int32_t> tokens = {0, 16, 3, 3, 9};
  Twin out = Twin::output({5, 40});
  for (Ops* ops : {sets_.reference.get(), sets_.cpu.get()}) {
    ops->embed({view(tokens), table.on(*ops), out.on(*ops)});
  }
  EXPECT_EQ(out.error(), 0);
  for (size_t row = 0; row < tokens.size(); ++row) {
    for (size_t i = 0; i < 40; ++i) {
      ASSERT_EQ(out.wide()[row * 40 + i], table.wide()[static_cast<size_t>(tokens[row]) * 40 + i]);
    }
  }
  tokens[1] = 17;
  EXPECT_THROW(sets_.cpu->embed({view(tokens), table.on(*sets_.cpu), out.on(*sets_.cpu)}),
               std::logic_error);
  tokens[1] = -1;
  EXPECT_THROW(
      sets_.reference->embed({view(tokens), table.on(*sets_.reference), out.on(*sets_.reference)}),
      std::logic_error);
}

TEST_F(ElementwiseTest, RmsNormAgreesWithTheReference) {
  for (const int64_t rows : {1, 3, 127, 129}) {
    for (const int64_t hidden : {8, 80, 257}) {
      for (const bool with_delta : {false, true}) {
        Twin x = Twin::random({rows, hidden}, random_, 3, 0.5);
        Twin delta = with_delta ? Twin::random({rows, hidden}, random_) : Twin();
        Twin weight = Twin::random({hidden}, random_, 0.3, 1);
        Twin out = Twin::output({rows, hidden});
        for (Ops* ops : {sets_.reference.get(), sets_.cpu.get()}) {
          ops->rms_norm({x.on(*ops), delta.on(*ops), weight.on(*ops), 1e-5, out.on(*ops)});
        }
        EXPECT_LT(out.error(), 5e-7) << rows << " x " << hidden;
        EXPECT_LT(x.error(), 1e-7) << "the residual stream";
      }
    }
  }
}

// mean((3, 4)^2) = 12.5; delta arrives in x, eps under the root, weight last.
TEST_F(ElementwiseTest, RmsNormByHand) {
  Ops& ops = *sets_.reference;
  std::vector<double> x = {1, 5};
  std::vector<double> delta = {2, -1};
  std::vector<double> weight = {2, 0.5};
  std::vector<double> out(2);
  const auto row = [](std::vector<double>& v) {
    return Tensor(v.data(), DType::f64, Device::cpu, {1, 2});
  };
  ops.rms_norm({row(x), row(delta), view(weight), 0.5, row(out)});
  EXPECT_EQ(x, (std::vector<double>{3, 4}));
  EXPECT_DOUBLE_EQ(out[0], 3 / std::sqrt(13.0) * 2);
  EXPECT_DOUBLE_EQ(out[1], 4 / std::sqrt(13.0) * 0.5);
}

TEST_F(ElementwiseTest, SwigluAgreesWithTheReference) {
  for (const int64_t rows : {1, 3, 127, 129}) {
    for (const int64_t ffn : {8, 80, 257}) {
      Twin gate_up = Twin::random({rows, 2 * ffn}, random_, 4);
      Twin out = Twin::output({rows, ffn});
      for (Ops* ops : {sets_.reference.get(), sets_.cpu.get()}) {
        ops->swiglu({gate_up.on(*ops), out.on(*ops)});
      }
      EXPECT_LT(out.error(), 5e-7) << rows << " x " << ffn;
    }
  }
}

TEST_F(ElementwiseTest, GatedLinearIsLinearThenSwiglu) {
  constexpr int64_t kRows = 5, kIn = 24, kFfn = 40;
  Twin x = Twin::random({kRows, kIn}, random_, 1);
  Twin weight = Twin::random({2 * kFfn, kIn}, random_, 1);
  Twin gate_up = Twin::output({kRows, 2 * kFfn});
  Twin out = Twin::output({kRows, kFfn});
  for (Ops* ops : {sets_.reference.get(), sets_.cpu.get()}) {
    ops->gated_linear({x.on(*ops), weight.on(*ops), gate_up.on(*ops), out.on(*ops)});
  }
  EXPECT_LT(out.error(), 2e-6);
}

// Gates far out: exp must neither overflow to NaN nor leave anything of a closed gate.
TEST_F(ElementwiseTest, SwigluAtTheEnds) {
  std::vector<float> gate_up = {-1e4f, -100, 0, 100, 1e4f, 1, 1, 1, 1, 2};
  std::vector<float> out(5, std::numeric_limits<float>::quiet_NaN());
  sets_.cpu->swiglu({Tensor(gate_up.data(), DType::f32, Device::cpu, {1, 10}),
                     Tensor(out.data(), DType::f32, Device::cpu, {1, 5})});
  EXPECT_NEAR(out[0], 0, 1e-30);
  EXPECT_NEAR(out[1], 0, 1e-30);
  EXPECT_EQ(out[2], 0);
  EXPECT_EQ(out[3], 100);
  EXPECT_EQ(out[4], 2e4f);
}

TEST_F(ElementwiseTest, NllAgreesWithTheReference) {
  for (const int64_t rows : {1, 3, 127, 129}) {
    for (const int64_t vocab : {1, 100, 4097}) {
      Twin logits = Twin::random({rows, vocab}, random_, 8, 30);
      std::vector<int32_t> targets(static_cast<size_t>(rows));
      for (int32_t& target : targets) {
        target = static_cast<int32_t>(random_.below(static_cast<uint64_t>(vocab)));
      }
      constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
      std::vector<double> expected(static_cast<size_t>(rows), kNan);
      std::vector<double> found(static_cast<size_t>(rows), kNan);
      sets_.reference->nll({logits.on(*sets_.reference), view(targets), view(expected)});
      sets_.cpu->nll({logits.on(*sets_.cpu), view(targets), view(found)});
      // Same logits, double on both sides: only the order of the sum differs.
      EXPECT_LT(relative_error(found, expected), 1e-14) << rows << " x " << vocab;
    }
  }
}

// Equal logits: log(vocab), wherever they lie and however large they are.
TEST_F(ElementwiseTest, NllOfUniformLogits) {
  for (const float level : {0.0f, 1e4f, -1e4f}) {
    std::vector<float> logits(1000, level);
    std::vector<int32_t> targets = {999};
    std::vector<double> nll = {std::numeric_limits<double>::quiet_NaN()};
    sets_.cpu->nll(
        {Tensor(logits.data(), DType::f32, Device::cpu, {1, 1000}), view(targets), view(nll)});
    EXPECT_NEAR(nll[0], std::log(1000.0), 1e-11);
  }
}

TEST_F(ElementwiseTest, NanIsNotSwallowed) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> logits(64, 1.0f);
  logits[13] = kNan;
  std::vector<int32_t> targets = {2};
  std::vector<double> nll = {0};
  sets_.cpu->nll(
      {Tensor(logits.data(), DType::f32, Device::cpu, {1, 64}), view(targets), view(nll)});
  EXPECT_TRUE(std::isnan(nll[0]));
  targets[0] = 64;
  EXPECT_THROW(sets_.cpu->nll({Tensor(logits.data(), DType::f32, Device::cpu, {1, 64}),
                               view(targets), view(nll)}),
               std::logic_error);
}

}  // namespace
}  // namespace kvg::ops_test
