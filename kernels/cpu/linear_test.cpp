#include "kernels/cpu/ops_test_util.h"

#include <stdexcept>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::ops_test {
namespace {

LinearParams linear_params(const Ops& ops, Twin& x, Twin& weight, Twin& bias, Twin& out) {
  return {x.on(ops), weight.on(ops), bias.on(ops), out.on(ops)};
}

// Rows on both sides of every switch of method, tiles that do not divide the output.
TEST(LinearTest, AgreesWithTheReference) {
  Sets sets;
  Random random(kSeed + 1);
  for (const int64_t rows : {1, 2, 4, 5, 8, 63, 65, 127, 129, 257}) {
    for (const auto& [inputs, outputs] :
         {std::tuple{1, 1}, std::tuple{37, 65}, std::tuple{256, 512}, std::tuple{80, 300}}) {
      for (const bool with_bias : {false, true}) {
        Twin x = Twin::random({rows, inputs}, random);
        Twin weight = Twin::random({outputs, inputs}, random, 0.1);
        Twin bias = with_bias ? Twin::random({outputs}, random) : Twin();
        Twin out = Twin::output({rows, outputs});
        sets.reference->linear(linear_params(*sets.reference, x, weight, bias, out));
        sets.cpu->linear(linear_params(*sets.cpu, x, weight, bias, out));
        EXPECT_LT(out.error(), 1e-6) << rows << " x " << inputs << " -> " << outputs;
      }
    }
  }
}

// The reference itself against a product that can be done by hand.
TEST(LinearTest, ReferenceMultipliesByTheTransposedWeight) {
  Sets sets;
  std::vector<double> x = {1, 2, 3};
  std::vector<double> weight = {1, 10, 100, -1, 0, 1};
  std::vector<double> bias = {0.5, -0.5};
  std::vector<double> out(2);
  const auto tensor = [](std::vector<double>& v, int64_t rows, int64_t columns) {
    return Tensor(v.data(), DType::f64, Device::cpu, {rows, columns});
  };
  sets.reference->linear({tensor(x, 1, 3), tensor(weight, 2, 3), view(bias), tensor(out, 1, 2)});
  EXPECT_EQ(out, (std::vector<double>{321.5, 1.5}));
}

// Work is cut by the shapes alone: any number of threads gives the same bits, run after run.
TEST(LinearTest, SameBitsForAnyNumberOfThreads) {
  Random random(kSeed + 2);
  for (const int64_t rows : {1, 7, 300}) {
    Twin x = Twin::random({rows, 320}, random);
    Twin weight = Twin::random({700, 320}, random);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 2}) {
      const auto ops = make_cpu_ops(threads);
      Twin out = Twin::output({rows, 700});
      ops->linear({x.on(*ops), weight.on(*ops), {}, out.on(*ops)});
      if (first.empty()) first = out.narrow();
      EXPECT_TRUE(same_bits(out.narrow(), first)) << threads << " threads, " << rows << " rows";
    }
  }
}

TEST(LinearTest, RefusesShapesThatDoNotFit) {
  Sets sets;
  Random random(kSeed);
  Twin x = Twin::random({2, 8}, random);
  Twin weight = Twin::random({4, 9}, random);
  Twin bias;
  Twin out = Twin::output({2, 4});
  for (Ops* ops : {sets.reference.get(), sets.cpu.get()}) {
    EXPECT_THROW(ops->linear(linear_params(*ops, x, weight, bias, out)), std::logic_error);
  }
  Twin fitting = Twin::random({4, 8}, random);
  LinearParams in_place = linear_params(*sets.cpu, x, fitting, bias, out);
  in_place.out = Tensor(x.narrow().data(), DType::f32, Device::cpu, {2, 4});
  EXPECT_THROW(sets.cpu->linear(in_place), std::logic_error);
}

TEST(LinearTest, NoRowsIsNoWork) {
  Sets sets;
  Random random(kSeed);
  Twin weight = Twin::random({4, 8}, random);
  for (Ops* ops : {sets.reference.get(), sets.cpu.get()}) {
    const DType dtype = ops->activation();
    ops->linear({Tensor(nullptr, dtype, Device::cpu, {0, 8}),
                 weight.on(*ops),
                 {},
                 Tensor(nullptr, dtype, Device::cpu, {0, 4})});
  }
}

TEST(LinearTest, ProfileCountsTheTimeInsideBlas) {
  const auto ops = make_cpu_ops();
  Random random(kSeed);
  Twin x = Twin::random({128, 256}, random);
  Twin weight = Twin::random({512, 256}, random);
  Twin out = Twin::output({128, 512});
  ops->linear({x.on(*ops), weight.on(*ops), {}, out.on(*ops)});
  const OpsProfile profile = ops->profile();
  EXPECT_GT(profile.gemm, 0);
  EXPECT_LE(profile.gemm, profile.total);
  EXPECT_EQ(profile.attention, 0);
  ops->reset_profile();
  EXPECT_EQ(ops->profile().gemm, 0);
  EXPECT_EQ(ops->profile().total, 0);
}

}  // namespace
}  // namespace kvg::ops_test
