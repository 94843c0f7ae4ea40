#include "model/cache/landmark.h"

#include "base/random.h"
#include "model/cache/landmark_test_tools.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using namespace landmark_test;

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  return worst;
}

constexpr Geometry kSmall{4, 2, 8, 2};

// Fixed semantics: prefill in any pieces equals token by token.

struct ChunkCase {
  std::string method;
  double gate = -1;  // of every token; < 0: random gates
};

class LandmarkChunks : public testing::TestWithParam<ChunkCase> {
 protected:
  void chunked_equals_token_by_token(Ops& ops, double tolerance) {
    Tokens tokens = random_tokens(11, 150, kSmall);
    if (GetParam().gate >= 0) tokens.gate.assign(tokens.gate.size(), GetParam().gate);
    const auto run = [&](const std::vector<int64_t>& sizes) {
      const auto layer = make_layer(ops, GetParam().method, kSmall.cache());
      return feed_all(ops, *layer, tokens, sizes);
    };
    const std::vector<double> single = run({1});
    for (const std::vector<int64_t>& sizes :
         {std::vector<int64_t>{7}, {64}, {150}, {1, 13, 2, 40, 1, 1, 5}}) {
      EXPECT_LE(largest_difference(run(sizes), single), tolerance) << "chunks of " << sizes[0];
    }
  }
};

TEST_P(LandmarkChunks, DoNotMatterInDouble) {
  const auto ops = make_reference_ops();
  chunked_equals_token_by_token(*ops, 1e-10);
}

TEST_P(LandmarkChunks, DoNotMatterInFloat) {
  const auto ops = make_cpu_ops(1);
  chunked_equals_token_by_token(*ops, 5e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Methods, LandmarkChunks,
    testing::Values(ChunkCase{"landmark(window=16,exact=6,summary=5)+f32"},
                    ChunkCase{"landmark(window=16,exact=6,summary=5,block=1)+f32"},
                    ChunkCase{"landmark(window=16,exact=6,summary=5,block=16)+bf16"},
                    ChunkCase{"landmark(window=13,exact=6,summary=5,block=5,tau_merge=0.5)+f32"},
                    ChunkCase{"landmark(window=20,exact=8,summary=8,block=8)+bank:eden(bits=4)"},
                    ChunkCase{"landmark(window=20,exact=8,summary=8,block=8)+eden(bits=2)"},
                    ChunkCase{"landmark(window=16,exact=6,summary=5,block=8)+f32", 1.0},
                    ChunkCase{"landmark(window=16,exact=6,summary=5,arithmetic=bf16)+bf16"},
                    ChunkCase{"landmark(window=16,exact=6,summary=5,count_bias=off)+fp8"},
                    ChunkCase{"landmark(window=16,exact=6,summary=5,block=4)+int8"},
                    ChunkCase{"landmark(window=8,exact=0,summary=5)+f32"},
                    ChunkCase{"landmark(window=8,exact=6,summary=5,lf_band=all)+f32"},
                    ChunkCase{"landmark(window=8,exact=6,summary=0)+f32"},
                    ChunkCase{"landmark(window=8,exact=6,summary=4,routing=torch)+f32"}));

// As long as the window holds everything, bounded is full.

TEST(Landmark, EqualsFullWhileTheWindowHoldsEverything) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(12, 24, kSmall);
  const auto full = [&] {
    const auto policy = make_policy(Method::parse("full+f32"));
    const auto layer = policy->make_layer(*ops, kSmall.cache(), 0, 64);
    return feed_all(*ops, *layer, tokens, {24});
  }();
  for (const std::string method :
       {"landmark(window=24,exact=4,summary=4,block=1)+f32",
        "landmark(window=30,exact=4,summary=4,block=6)+f32",
        "landmark(semantics=reference,window=24,exact=4,summary=4,arithmetic=f32)+f32",
        "landmark(semantics=reference,window=24,exact=4,summary=4,arithmetic=f32,block=7)+f32"}) {
    for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{24}, {1}, {10, 1}}) {
      const auto layer = make_layer(*ops, method, kSmall.cache());
      EXPECT_LE(largest_difference(feed_all(*ops, *layer, tokens, sizes), full), 1e-12) << method;
    }
  }
}

// With block = 1 a query sees exactly the last `window` tokens; with larger blocks never fewer than
// window - block + 1.
TEST(Landmark, WithoutBanksIsAWindow) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(13, 60, kSmall);
  const auto landmark =
      make_layer(*ops, "landmark(window=9,exact=0,summary=0,block=1)+f32", kSmall.cache());
  const auto policy = make_policy(Method::parse("window(window=9)+f32"));
  const auto window = policy->make_layer(*ops, kSmall.cache(), 0, 64);
  EXPECT_LE(largest_difference(feed_all(*ops, *landmark, tokens, {17}),
                               feed_all(*ops, *window, tokens, {60})),
            1e-12);
}

// What the banks hold.

TEST(Landmark, SinksStayForEver) {
  const auto ops = make_reference_ops();
  for (const std::string method :
       {"landmark(window=8,exact=6,summary=4,block=2,sinks=3)+f32",
        "landmark(semantics=reference,window=8,exact=6,summary=4,sinks=3,arithmetic=f32)+f32"}) {
    Tokens tokens = random_tokens(14, 200, kSmall, 0.0);
    for (int i = 0; i < 3; ++i) tokens.gate[static_cast<size_t>(i)] = 0.0;  // no matter their gates
    const auto layer = make_layer(*ops, method, kSmall.cache());
    feed_all(*ops, *layer, tokens, {50, 1});
    const LandmarkBank& bank = layer->banks().bank();
    const auto [k, v] = slots(*ops, bank.exact, kSmall);
    for (size_t i = 0; i < size_t{3} * 16; ++i) {
      EXPECT_NEAR(k[i], tokens.k[i], 1e-6) << method;
      EXPECT_NEAR(v[i], tokens.v[i], 1e-6) << method;
    }
    for (int m = 3; m < 6; ++m) EXPECT_GT(bank.stamps[m], 100) << method;
  }
}

TEST(Landmark, ExactBankKeepsTheNeedle) {
  const auto ops = make_cpu_ops(1);
  Tokens tokens = random_tokens(15, 400, kSmall);
  // The haystack says the same thing over and over, with low gates; token 37 says something else.
  for (int64_t t = 0; t < tokens.size(); ++t) {
    tokens.gate[static_cast<size_t>(t)] = t == 37 ? 1.0 : 0.2;
    for (size_t d = 0; d < 16; ++d) {
      tokens.v[static_cast<size_t>(t) * 16 + d] =
          t == 37 ? (d % 2 == 0 ? 3.0 : -3.0)
                  : 1.0 + 0.1 * tokens.k[static_cast<size_t>(t) * 16 + d];
    }
  }
  for (const std::string codec : {"f32", "bf16", "bank:eden(bits=4)", "bank:fp8", "bank:int8"}) {
    const auto layer =
        make_layer(*ops, "landmark(window=32,exact=8,summary=8)+" + codec, kSmall.cache());
    feed_all(*ops, *layer, tokens, {100});
    const LandmarkBank& bank = layer->banks().bank();
    const auto [k, v] = slots(*ops, bank.exact, kSmall);
    bool found = false;
    for (int64_t m = 0; m < bank.exact.capacity; ++m) {
      found = found || (bank.exact_valid[m] != 0 && bank.stamps[m] == 37 &&
                        std::abs(v[static_cast<size_t>(m) * 16] - 3.0) < 0.5);
    }
    EXPECT_TRUE(found) << codec;
  }
}

// Without a write gate all gates are 1; then the most novel of an eviction go first.
TEST(Landmark, NoveltyBreaksTies) {
  const auto ops = make_reference_ops();
  Tokens tokens = random_tokens(16, 96, kSmall);
  tokens.gate.assign(tokens.gate.size(), 1.0);
  for (size_t i = 0; i < tokens.v.size(); ++i) tokens.v[i] = 1.0 + 0.02 * tokens.v[i];
  for (size_t d = 0; d < 16; ++d) tokens.v[45 * 16 + d] = d % 2 == 0 ? 1.0 : -1.0;
  const auto keeps_45 = [&](const std::string& tie) {
    const auto layer = make_layer(
        *ops,
        "landmark(window=32,exact=4,summary=0,sinks=0,block=16,exact_candidates=1,tie=" + tie +
            ")+f32",
        kSmall.cache());
    feed_all(*ops, *layer, tokens, {96});
    const LandmarkBank& bank = layer->banks().bank();
    return std::find(bank.stamps, bank.stamps + 4, 45) != bank.stamps + 4;
  };
  EXPECT_TRUE(keeps_45("novelty"));
  EXPECT_FALSE(keeps_45("position"));
}

TEST(Landmark, NoDuplicatesInTheFixedExactBank) {
  const auto ops = make_reference_ops();
  Tokens tokens = random_tokens(17, 120, kSmall, 0.0);
  // Every token twice in a row.
  for (size_t t = 1; t < 120; t += 2) {
    std::copy_n(tokens.v.begin() + static_cast<int64_t>(16 * (t - 1)), 16,
                tokens.v.begin() + static_cast<int64_t>(16 * t));
    tokens.gate[t] = tokens.gate[t - 1] = 0.9;
  }
  const auto layer = make_layer(
      *ops, "landmark(window=16,exact=8,summary=0,block=16,exact_candidates=16,sinks=0)+f32",
      kSmall.cache());
  feed_all(*ops, *layer, tokens, {120});
  const auto [k, v] = slots(*ops, layer->banks().bank().exact, kSmall);
  for (size_t a = 0; a < 8; ++a) {
    for (size_t b = 0; b < a; ++b) {
      double difference = 0;
      for (size_t d = 0; d < 16; ++d) difference += std::abs(v[a * 16 + d] - v[b * 16 + d]);
      EXPECT_GT(difference, 0.1);
    }
  }
}

TEST(Landmark, SummaryKeysHoldSlowDimensionsOnly) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(18, 120, kSmall);
  for (const bool half_split : {true, false}) {
    for (const std::string semantics : {"fixed", "reference"}) {
      const auto layer =
          make_layer(*ops, "landmark(semantics=" + semantics + ",window=8,exact=4,summary=4)",
                     kSmall.cache(half_split));
      feed_all(*ops, *layer, tokens, {100, 1});
      const auto [k, v] = slots(*ops, layer->banks().bank().summary, kSmall);
      const std::vector<int32_t> slow = slow_dimensions(
          8, half_split, semantics == "fixed" ? LandmarkBand::pairs : LandmarkBand::dims);
      double fast = 0, band = 0;
      for (size_t i = 0; i < k.size(); ++i) {
        const bool is_slow =
            std::binary_search(slow.begin(), slow.end(), static_cast<int32_t>(i % 8));
        (is_slow ? band : fast) += std::abs(k[i]);
      }
      EXPECT_EQ(fast, 0) << semantics;
      EXPECT_GT(band, 1) << semantics;
    }
  }
}

// Where nothing is left out of the keys and no two tokens are alike enough to be averaged, the
// summary bank is an exact one; keys without their fast dimensions are something else.
TEST(Landmark, WithAllDimensionsASummaryOfOneTokenIsTheToken) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(20, 60, kSmall);
  const auto policy = make_policy(Method::parse("full+f32"));
  const auto full_layer = policy->make_layer(*ops, kSmall.cache(), 0, 64);
  const std::vector<double> full = feed_all(*ops, *full_layer, tokens, {60});
  for (const std::string arguments : {"", ",state=published", ",key_scale=energy",
                                      ",semantics=reference,arithmetic=f32,"
                                      "insert=free,mem_init=zeros,block_gate=on"}) {
    const std::string method =
        "landmark(window=8,exact=0,summary=52,tau_merge=2,tau_summary=0" + arguments;
    for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{60}, {1}, {20, 1}}) {
      const auto all = make_layer(*ops, method + ",lf_band=all)+f32", kSmall.cache());
      EXPECT_LE(largest_difference(feed_all(*ops, *all, tokens, sizes), full), 1e-6) << method;
    }
    const auto pairs = make_layer(*ops, method + ",lf_band=pairs)+f32", kSmall.cache());
    EXPECT_GT(largest_difference(feed_all(*ops, *pairs, tokens, {20, 1}), full), 1e-2) << method;
  }
}

TEST(Landmark, StampsNeverGoBack) {
  const auto ops = make_cpu_ops(1);
  const Tokens tokens = random_tokens(19, 160, kSmall);
  for (const std::string semantics : {"fixed", "reference"}) {
    const auto layer = make_layer(
        *ops, "landmark(semantics=" + semantics + ",window=12,exact=5,summary=3,block=4)",
        kSmall.cache());
    std::vector<int64_t> before(5, 0);
    std::vector<uint8_t> used(8, 0);
    for (int64_t t = 0; t < tokens.size(); t += t < 80 ? 10 : 1) {
      feed(*ops, *layer, tokens, t, t < 80 ? 10 : 1);
      const LandmarkBank& bank = layer->banks().bank();
      for (size_t m = 0; m < 5; ++m) {
        EXPECT_GE(bank.stamps[m], before[m]) << semantics << " slot " << m << " at " << t;
        EXPECT_GE(bank.exact_valid[m], used[m]);
        EXPECT_TRUE(bank.exact_valid[m] != 0 || bank.stamps[m] == 0);
        before[m] = bank.stamps[m];
        used[m] = bank.exact_valid[m];
      }
    }
  }
}

// The order of the slots means nothing: with two of them exchanged, all goes on as before.
TEST(Landmark, SlotsMayBePermuted) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(24, 140, kSmall);
  const std::string method = "landmark(window=12,exact=6,summary=4,block=4,sinks=2)+f32";
  const auto a = make_layer(*ops, method, kSmall.cache());
  const auto b = make_layer(*ops, method, kSmall.cache());
  feed(*ops, *a, tokens, 0, 80);
  feed(*ops, *b, tokens, 0, 80);
  const LandmarkBank& bank = b->banks().bank();
  const auto exchange = [&](const SlotStore& store, int64_t first, int64_t second) {
    const OnOps k(*ops, nullptr, {2, 2, 8}), v(*ops, nullptr, {2, 2, 8});
    ops->load({k.tensor.rows(0, 1), v.tensor.rows(0, 1), 0, store, first});
    ops->load({k.tensor.rows(1, 1), v.tensor.rows(1, 1), 0, store, second});
    ops->store({k.tensor.rows(0, 1), v.tensor.rows(0, 1), 0, store, second});
    ops->store({k.tensor.rows(1, 1), v.tensor.rows(1, 1), 0, store, first});
  };
  exchange(bank.exact, 2, 5);
  std::swap(bank.exact_valid[2], bank.exact_valid[5]);
  std::swap(bank.stamps[2], bank.stamps[5]);
  exchange(bank.summary, 0, 1);
  std::swap(bank.summary_valid[0], bank.summary_valid[1]);
  std::swap(bank.counts[0], bank.counts[1]);
  std::swap(bank.log_weight[0], bank.log_weight[1]);
  EXPECT_NE(bank.stamps[2], bank.stamps[5]);
  EXPECT_LE(
      largest_difference(feed_all(*ops, *a, tokens, {9}, 80), feed_all(*ops, *b, tokens, {9}, 80)),
      1e-12);
}

// Copies and neighbours.

TEST(Landmark, ClonesAreIndependent) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(20, 120, kSmall);
  const Tokens others = random_tokens(21, 120, kSmall);
  for (const std::string semantics : {"fixed", "reference"}) {
    const auto layer = make_layer(
        *ops, "landmark(semantics=" + semantics + ",window=12,exact=5,summary=3,block=4)+f32",
        kSmall.cache());
    for (int64_t t = 0; t < 60; t += 20) feed(*ops, *layer, tokens, t, 20);
    const auto copy = layer->clone(*ops);
    const auto second = layer->clone(*ops);
    feed_all(*ops, *copy, others, {9, 1}, 60);
    EXPECT_EQ(feed_all(*ops, *layer, tokens, {9, 1}, 60),
              feed_all(*ops, *second, tokens, {9, 1}, 60));
    EXPECT_EQ(copy->bytes(), layer->bytes());
  }
}

// Snapshots belong to their blocks: what later tokens do to the banks changes nothing before them.
TEST(Landmark, TheFutureDoesNotReachBack) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(22, 120, kSmall);
  Tokens changed = tokens;
  for (size_t i = 70 * 16; i < changed.k.size(); ++i) changed.k[i] = changed.v[i] = 5.0;
  for (const std::string semantics : {"fixed", "reference"}) {
    const std::string method =
        "landmark(semantics=" + semantics + ",window=12,exact=5,summary=3,block=4)+f32";
    const auto a = make_layer(*ops, method, kSmall.cache());
    const auto b = make_layer(*ops, method, kSmall.cache());
    std::vector<double> out_a = feed_all(*ops, *a, tokens, {120});
    std::vector<double> out_b = feed_all(*ops, *b, changed, {120});
    out_a.resize(70 * 32);
    out_b.resize(70 * 32);
    EXPECT_EQ(out_a, out_b) << semantics;
  }
}

// Sequences of different lengths in one attention call do what they do alone.
TEST(Landmark, RaggedSequencesAreIndependent) {
  const auto ops = make_reference_ops();
  const std::vector<int64_t> lengths = {50, 3, 1, 77};
  Tokens packed = random_tokens(23, 131, kSmall);
  const std::string method = "landmark(window=12,exact=5,summary=3,block=4)+f32";
  std::vector<std::unique_ptr<LandmarkLayer>> layers;
  std::vector<AttentionBlock> blocks;
  const OnOps k(*ops, packed.k.data(), {131, 2, 8}), v(*ops, packed.v.data(), {131, 2, 8});
  const OnOps gate(*ops, packed.gate.data(), {131});
  const OnOps q(*ops, packed.q.data(), {131, 2, 4, 8}), out(*ops, nullptr, {131, 4, 8});
  const OnOps lambda(*ops, packed.lambda.data(), {131, 4});
  int64_t row = 0;
  for (const int64_t n : lengths) {
    layers.push_back(make_layer(*ops, method, kSmall.cache()));
    layers.back()->absorb(
        *ops,
        {k.tensor.rows(row, n), v.tensor.rows(row, n), gate.tensor.rows(row, n), 0, row, nullptr},
        &blocks);
    row += n;
  }
  AttentionParams params;
  params.q = q.tensor;
  params.streams = 2;
  params.heads = 4;
  params.kv_heads = 2;
  params.head_dim = 8;
  params.scale = 1 / std::sqrt(8.0);
  params.lambda = lambda.tensor;
  params.blocks = blocks;
  params.out = out.tensor;
  ops->attention(params);
  const std::vector<double> together = out.values();
  row = 0;
  for (const int64_t n : lengths) {
    const auto part = [row, n](const std::vector<double>& x, int64_t width) {
      return std::vector<double>(x.begin() + row * width, x.begin() + (row + n) * width);
    };
    const Tokens alone = {kSmall,
                          part(packed.k, 16),
                          part(packed.v, 16),
                          part(packed.q, 64),
                          part(packed.gate, 1),
                          part(packed.lambda, 4),
                          {}};
    const auto layer = make_layer(*ops, method, kSmall.cache());
    EXPECT_EQ(feed_all(*ops, *layer, alone, {n}), part(together, 32)) << n;
    row += n;
  }
}

}  // namespace
}  // namespace kvg
