#include "model/attention_watch.h"

#include "model/cache/landmark_test_tools.h"
#include "model/checkpoint.h"
#include "model/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using namespace landmark_test;

constexpr Geometry kPlain = {4, 2, 8, 1};
constexpr Geometry kDifferential = {4, 2, 8, 2};

std::unique_ptr<LayerCache> layer_of(Ops& ops, const std::string& method, const Geometry& g) {
  auto layer = make_policy(Method::parse(method))->make_layer(ops, g.cache(), 0, 1 << 12);
  layer->keep_positions();
  return layer;
}

std::vector<int64_t> all_positions(int64_t n) {
  std::vector<int64_t> positions;
  for (int64_t p = 0; p < n; ++p) positions.push_back(p);
  return positions;
}

// Positions that the query saw as themselves.
std::vector<int64_t> held(const AttentionWatch& watch, const AttentionWatch::Query& query) {
  std::vector<int64_t> positions;
  for (size_t i = 0; i < watch.positions.size(); ++i) {
    if (query.layers.at(0).held[i]) positions.push_back(watch.positions[i]);
  }
  return positions;
}

// Attention written down once more: the largest net weight of `positions` over the query heads.
double dense_weight(const Tokens& tokens, int64_t query, const std::vector<int64_t>& positions) {
  const Geometry& g = tokens.geometry;
  double largest = -2;
  for (int head = 0; head < g.heads; ++head) {
    double net = 0;
    for (int stream = 0; stream < g.streams; ++stream) {
      const double* q = &tokens.q[static_cast<size_t>(
          ((query * g.streams + stream) * g.heads + head) * g.head_dim)];
      double all = 0, wanted = 0;
      for (int64_t p = 0; p <= query; ++p) {
        const int kv_head = head / (g.heads / g.kv_heads);
        const double* k = &tokens.k[static_cast<size_t>((p * g.kv_heads + kv_head) * g.head_dim)];
        double dot = 0;
        for (int d = 0; d < g.head_dim; ++d) dot += q[d] * k[d];
        const double weight = std::exp(dot / std::sqrt(static_cast<double>(g.head_dim)));
        all += weight;
        if (std::ranges::count(positions, p) > 0) wanted += weight;
      }
      const double lambda = tokens.lambda[static_cast<size_t>(query * g.heads + head)];
      net += (stream == 0 ? 1 : -lambda) * wanted / all;
    }
    largest = std::max(largest, net);
  }
  return largest;
}

TEST(AttentionWatch, OfAFullCacheIsDenseAttention) {
  for (const Geometry& geometry : {kPlain, kDifferential}) {
    for (const auto& ops : {make_reference_ops(), make_cpu_ops(1)}) {
      const Tokens tokens = random_tokens(3, 40, geometry);
      const auto layer = layer_of(*ops, "full+f32", geometry);
      AttentionWatch watch{30, {3, 7, 33}, {}};
      feed_all(*ops, *layer, tokens, {17, 1, 9}, 0, &watch);
      ASSERT_EQ(watch.queries.size(), 10u);
      for (const AttentionWatch::Query& query : watch.queries) {
        EXPECT_NEAR(query.layers.at(0).weight, dense_weight(tokens, query.position, {3, 7, 33}),
                    1e-6);
        const bool seen = query.position >= 33;
        EXPECT_EQ(query.layers[0].held, (std::vector<bool>{true, true, seen}));
      }
    }
  }
}

TEST(AttentionWatch, AWindowHoldsWhatIsNear) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(4, 40, kPlain);
  const auto layer = layer_of(*ops, "window(window=8)+f32", kPlain);
  AttentionWatch watch{20, {15}, {}};
  feed_all(*ops, *layer, tokens, {30, 1}, 0, &watch);
  for (const AttentionWatch::Query& query : watch.queries) {
    const bool near = query.position - 15 < 8;
    EXPECT_EQ(query.layers.at(0).held[0], near) << query.position;
    EXPECT_EQ(query.layers[0].weight > 0, near) << query.position;
  }
}

// What a bank says that it holds is what is in its slots, however the tokens came.
class BankPositions : public testing::TestWithParam<std::string> {};

TEST_P(BankPositions, AreThoseOfTheValuesInIt) {
  const auto ops = make_reference_ops();
  const Tokens tokens = random_tokens(5, 160, kPlain, 0.3);
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{159, 1}, {50, 50, 50, 1}, {90, 1}}) {
    const auto layer = layer_of(*ops, GetParam(), kPlain);
    AttentionWatch watch{159, all_positions(160), {}};
    feed_all(*ops, *layer, tokens, sizes, 0, &watch);
    const std::vector<int64_t> positions = held(watch, watch.queries.back());
    const DecodeCache cache = layer->decode_cache(*ops, 170);
    const SlotStore& bank = cache.random.capacity > 0 ? cache.random : cache.landmark.exact;
    const auto [k, v] = slots(*ops, bank, kPlain);
    EXPECT_GT(bank.capacity, 0);
    int found = 0;
    for (const int64_t position : positions) {
      if (position >= 160 - 16) continue;  // may still be in the window
      for (int64_t m = 0; m < bank.capacity; ++m) {
        double difference = 0;
        for (int64_t d = 0; d < 16; ++d) {
          difference =
              std::max(difference, std::abs(v[static_cast<size_t>(m * 16 + d)] -
                                            tokens.v[static_cast<size_t>(position * 16 + d)]));
        }
        found += difference < 0.03 ? 1 : 0;
      }
    }
    const auto old = std::ranges::count_if(positions, [](int64_t p) { return p < 160 - 16; });
    EXPECT_EQ(found, old);
    EXPECT_GE(old, bank.capacity / 2) << "the bank is in use";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, BankPositions,
    testing::Values("landmark(window=16,exact=6,summary=5,block=8)+f32",
                    "landmark(window=16,exact=6,summary=5,block=8,refresh_on_hit=on)+f32",
                    "landmark(semantics=reference,window=16,exact=6,summary=5,arithmetic=f32)+f32",
                    "random(window=16,bank=9,block=4)+f32",
                    "random(window=16,bank=9,block=4)+window:bf16+bank:f32"));

TEST(AttentionWatch, TellsWhatTheGateKeptFromWhatItDropped) {
  const auto ops = make_cpu_ops(1);
  Tokens tokens = random_tokens(15, 300, kPlain);
  const auto say = [&](int64_t t, double gate, double even, double odd) {
    tokens.gate[static_cast<size_t>(t)] = gate;
    for (size_t d = 0; d < 16; ++d) tokens.v[static_cast<size_t>(t) * 16 + d] = d % 2 ? odd : even;
  };
  for (int64_t t = 0; t < tokens.size(); ++t) say(t, 0.2, 1, 1);
  say(37, 1.0, 3, -3);   // novel, and worth keeping
  say(90, 0.01, -2, 5);  // novel, and not worth keeping to the gate
  say(140, 1.0, 3, -3);  // worth keeping, and nothing new
  const auto layer = layer_of(*ops, "landmark(window=32,exact=8,summary=8)+f32", kPlain);
  AttentionWatch watch{290, {37, 90, 140, 285}, {}};
  feed_all(*ops, *layer, tokens, {100}, 0, &watch);
  for (const AttentionWatch::Query& query : watch.queries) {
    EXPECT_EQ(held(watch, query), (std::vector<int64_t>{37, 285}));
  }
}

// Sessions.

class WatchedSession : public testing::TestWithParam<std::string> {
 protected:
  WatchedSession()
      : ops_(make_reference_ops()),
        weights_(Weights::load(
            *Checkpoint::open(KVG_SOURCE_DIR "/model/formats/golden/mistral-tied-bf16"), *ops_)),
        session_(weights_, *ops_, Method::parse(GetParam()), {16, 128}) {
    Random random(8);
    for (int i = 0; i < 80; ++i) {
      tokens_.push_back(
          static_cast<int32_t>(random.below(static_cast<uint64_t>(weights_.config.vocab))));
    }
  }
  std::span<const int32_t> part(size_t begin, size_t end) const {
    return std::span(tokens_).subspan(begin, end - begin);
  }

  std::unique_ptr<Ops> ops_;
  Weights weights_;
  Session session_;
  std::vector<int32_t> tokens_;
};

TEST_P(WatchedSession, WatchingChangesNothing) {
  const auto plain = session_.start();
  const auto watched = session_.start();
  AttentionWatch watch{10, {2, 30}, {}};
  watched->keep_positions();
  watched->watch(&watch);
  plain->append(part(0, 60));
  watched->append(part(0, 60));
  EXPECT_EQ(watched->score(part(60, 66)), plain->score(part(60, 66)));
  EXPECT_EQ(watched->bytes(), plain->bytes());
  ASSERT_EQ(watch.queries.size(), 56u);
  for (const AttentionWatch::Query& query : watch.queries) {
    EXPECT_EQ(std::ssize(query.layers), weights_.config.layers);
    const bool sink = GetParam().starts_with("sinks");
    EXPECT_TRUE(query.layers[1].held[0] || !sink) << query.position;
  }
  EXPECT_EQ(watch.queries.back().position, 65);
  watched->watch(nullptr);
  watched->append(part(66, 70));
  EXPECT_EQ(watch.queries.size(), 56u);
  EXPECT_THROW(plain->watch(&watch), std::logic_error) << "nobody kept the positions";
}

TEST_P(WatchedSession, DecodeStepsKeepPositionsToo) {
  const auto look = [&](bool decode) {
    const auto sequence = session_.start();
    sequence->keep_positions();
    sequence->append(part(0, 30));
    if (decode) {
      sequence->score_decoding(part(30, 70));
    } else {
      sequence->append(part(30, 70));
    }
    AttentionWatch watch{70, all_positions(71), {}};
    const auto copy = sequence->clone();
    copy->watch(&watch);
    copy->append(part(70, 71));
    return held(watch, watch.queries.at(0));
  };
  const std::vector<int64_t> prefilled = look(false);
  EXPECT_EQ(look(true), prefilled);
  EXPECT_THAT(prefilled, testing::Contains(70));
}

INSTANTIATE_TEST_SUITE_P(Methods, WatchedSession,
                         testing::Values("full+f32", "window(window=12)+f32",
                                         "sinks(sinks=4,window=12)+f32",
                                         "landmark(window=12,exact=6,summary=4,block=4)+f32",
                                         "random(window=12,bank=9,block=4)+f32"));

}  // namespace
}  // namespace kvg
