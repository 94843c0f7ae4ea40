#include "kernels/cpu/attention_test_util.h"
#include "kernels/reference/attention.h"

#include <complex>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

// What must hold for attention whatever the implementation, on both sets.
namespace kvg::ops_test {
namespace {

constexpr int kHeadDim = 64;
constexpr int kKvHeads = 2;

// K and V of a group given as values [slots, kKvHeads, kHeadDim], behind a codec that keeps
// doubles.
struct ExactStore {
  ExactStore(Twin k, Twin v, int32_t layer)
      : slots(k.on(*make_reference_ops()).size(0)),
        codes_k(static_cast<size_t>(kKvHeads * slots * codec.code_bytes())),
        codes_v(codes_k.size()) {
    const auto ops = make_reference_ops();
    store = {&codec, &codec, slots, codes_k.data(), codes_v.data()};
    ops->store({k.on(*ops), v.on(*ops), layer, store, 0});
  }
  ExactStore(const ExactStore&) = delete;
  ExactStore& operator=(const ExactStore&) = delete;

  ReflectingCodec codec{kHeadDim};
  int64_t slots;
  std::vector<uint8_t> codes_k, codes_v;
  SlotStore store;
};

Twin random_slots(int64_t slots, Random& random) {
  return Twin::random({slots, kKvHeads, kHeadDim}, random);
}

// The outputs of both sets for one list of blocks.
std::pair<std::vector<double>, std::vector<float>> outputs(AttentionCase& c, Sets& sets) {
  c.out = Twin::output({c.shape.rows, c.shape.heads, c.shape.head_dim});
  for (Ops* ops : {sets.reference.get(), sets.cpu.get()}) ops->attention(c.params(*ops));
  return {c.out.wide(), c.out.narrow()};
}

Twin permuted(Twin& twin, const std::vector<size_t>& order) {
  Twin out = Twin::output({static_cast<int64_t>(order.size()), kKvHeads, kHeadDim});
  constexpr size_t kWidth = kKvHeads * kHeadDim;
  for (size_t i = 0; i < order.size(); ++i) {
    std::copy_n(&twin.wide()[order[i] * kWidth], kWidth, &out.wide()[i * kWidth]);
    std::copy_n(&twin.narrow()[order[i] * kWidth], kWidth, &out.narrow()[i * kWidth]);
  }
  return out;
}

TEST(AttentionPropertyTest, TheOrderOfSlotsDoesNotMatter) {
  Sets sets;
  Random random(kSeed + 40);
  constexpr size_t kSlots = 700;
  Twin k = random_slots(kSlots, random);
  Twin v = random_slots(kSlots, random);
  std::vector<size_t> order(kSlots);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = kSlots - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  std::vector<uint8_t> valid(kSlots);
  std::vector<uint8_t> permuted_valid(kSlots);
  for (uint8_t& flag : valid) flag = random.below(4) != 0;
  for (size_t i = 0; i < kSlots; ++i) permuted_valid[i] = valid[order[i]];

  AttentionCase c({19, 8, kKvHeads, kHeadDim, 2}, random);
  const ExactStore store(k, v, c.layer);
  const ExactStore shuffled(permuted(k, order), permuted(v, order), c.layer);
  c.one_block(0, {{store.store, 0, kSlots, -1, 0, valid.data()}});
  const auto expected = outputs(c, sets);
  c.one_block(0, {{shuffled.store, 0, kSlots, -1, 0, permuted_valid.data()}});
  const auto found = outputs(c, sets);
  EXPECT_LT(relative_error(found.first, expected.first), 1e-13);
  EXPECT_LT(relative_error(found.second, expected.second), 1e-6);
}

// A group cut anywhere, in any order of its pieces, is the same group; causal ones too.
TEST(AttentionPropertyTest, SplittingAGroupChangesNothing) {
  Sets sets;
  Random random(kSeed + 41);
  constexpr int64_t kSlots = 600;
  AttentionCase c({33, 4, kKvHeads, kHeadDim, 2}, random);
  const ExactStore store(random_slots(kSlots, random), random_slots(kSlots, random), c.layer);
  for (const int64_t window : {int64_t{0}, int64_t{100}}) {
    for (const bool causal : {false, true}) {
      const int64_t first = causal ? 1000 : -1;
      c.one_block(1560, {{store.store, 350, kSlots, first, window}});
      const auto expected = outputs(c, sets);
      for (const int64_t cut : {int64_t{1}, int64_t{250}, int64_t{570}}) {
        c.one_block(1560, {{store.store, (350 + cut) % kSlots, kSlots - cut,
                            causal ? first + cut : -1, window},
                           {store.store, 350, cut, first, window}});
        const auto found = outputs(c, sets);
        EXPECT_LT(relative_error(found.first, expected.first), 1e-13);
        EXPECT_LT(relative_error(found.second, expected.second), 1e-6);
      }
    }
  }
}

// T17: a window and a bank in different codecs, merged by log-sum-exp, equal one softmax over the
// decoded keys and values.
TEST(AttentionPropertyTest, GroupsOfDifferentCodecsMergeAsOneSoftmax) {
  Sets sets;
  Random random(kSeed + 42);
  AttentionCase c({21, 4, kKvHeads, kHeadDim, 2}, random);
  const auto window_codec = Codec::make({CodecKind::bf16}, kHeadDim);
  const auto bank_codec = Codec::make({.kind = CodecKind::eden, .bits = 3, .seed = 9}, kHeadDim);
  const TestStore window(*window_codec, *window_codec, kKvHeads, 256, c.layer, random);
  const TestStore bank(*bank_codec, *bank_codec, kKvHeads, 128, c.layer, random, 0.5);
  Ops& reference = *sets.reference;
  Twin k = Twin::output({384, kKvHeads, kHeadDim});
  Twin v = Twin::output({384, kKvHeads, kHeadDim});
  const auto load = [&](const SlotStore& store, int64_t begin) {
    reference.load({k.on(reference).rows(begin, store.capacity),
                    v.on(reference).rows(begin, store.capacity), c.layer, store, 0});
  };
  load(window.store(), 0);
  load(bank.store(), 256);
  const ExactStore decoded(k, v, c.layer);

  c.one_block(0, {{decoded.store, 0, 384}});
  const auto expected = outputs(c, sets);
  c.one_block(0, {{window.store(), 0, 256}, {bank.store(), 0, 128}});
  const auto found = outputs(c, sets);
  EXPECT_LT(relative_error(found.first, expected.first), 1e-12);
  EXPECT_LT(relative_error(found.second, expected.first), 1e-5);
}

// Which slots order allows, by the definition: slot i holds the token of first_position + i; read
// are max(first_position, t - window + 1) .. t.
TEST(AttentionPropertyTest, ReadableSlotsFollowTheDefinition) {
  for (const int64_t first : {-1, 0, 7}) {
    for (const int64_t window : {0, 1, 4, 100}) {
      for (const int64_t count : {0, 1, 12}) {
        for (int64_t position = 0; position < 30; ++position) {
          AttentionGroup group;
          group.count = count;
          group.first_position = first;
          group.window = window;
          const reference::SlotRange range = reference::readable_slots(group, position);
          for (int64_t i = 0; i < count; ++i) {
            const int64_t token = first + i;
            const bool causal = token <= position && (window == 0 || token > position - window);
            EXPECT_EQ(i >= range.begin && i < range.end, first < 0 || causal)
                << "slot " << i << " of " << count << " from " << first << " at " << position
                << ", window " << window;
          }
        }
      }
    }
  }
}

// One readable slot makes attention its value: out = (1 - lambda) v, then the head norm by hand.
TEST(AttentionPropertyTest, LambdaAndHeadNormByHand) {
  Sets sets;
  Random random(kSeed + 44);
  AttentionCase c({1, 4, kKvHeads, kHeadDim, 2, 1, true}, random);
  Twin v = random_slots(1, random);
  const ExactStore store(random_slots(1, random), v, c.layer);
  c.one_block(0, {{store.store, 0, 1}});
  const auto found = outputs(c, sets);
  std::vector<double> expected(4 * kHeadDim);
  for (size_t head = 0; head < 4; ++head) {
    double squares = 0;
    for (size_t d = 0; d < kHeadDim; ++d) {
      double& x = expected[head * kHeadDim + d];
      x = (1 - c.lambda.wide()[head]) * v.wide()[head / 2 * kHeadDim + d];
      squares += x * x;
    }
    for (size_t d = 0; d < kHeadDim; ++d) {
      expected[head * kHeadDim + d] *= c.head_norm.wide()[d] / std::sqrt(squares / kHeadDim + 1e-6);
    }
  }
  EXPECT_LT(relative_error(found.first, expected), 1e-13);
  EXPECT_LT(relative_error(found.second, expected), 1e-6);
}

// ---- Positions inside the cache (StreamingLLM) ----

struct Streaming {
  bool half_split = true;
  bool coda = false;
  static constexpr int64_t kSinks = 4;
  static constexpr int64_t kRecent = 20;
  static constexpr int64_t kPosition = 5000;  // of the query; recent keys end with its own
};

void turn(double* x, size_t a, size_t b, double angle) {
  const auto turned = std::complex(x[a], x[b]) * std::polar(1.0, angle);
  x[a] = turned.real();
  x[b] = turned.imag();
}

void rope(double* x, double position, bool half_split) {
  for (size_t i = 0; i < kHeadDim / 2; ++i) {
    const double frequency = std::pow(10000.0, -2.0 * static_cast<double>(i) / kHeadDim);
    turn(x, half_split ? i : 2 * i, half_split ? i + kHeadDim / 2 : 2 * i + 1,
         position * frequency);
  }
}

// StreamingLLM as it is written: un-rotated keys, each rotated at its index in the cache, and the
// query at the last index. fused: a row a cached token, [q | k | v] with one head of each, the
// query's last.
std::vector<double> literal(const Streaming& s, const std::vector<double>& fused,
                            const std::vector<double>& theta, double lambda) {
  constexpr size_t kCached = Streaming::kSinks + Streaming::kRecent;
  std::vector<double> out(kHeadDim);
  for (int stream = 0; stream < (s.coda ? 2 : 1); ++stream) {
    std::vector<double> q(&fused[(kCached - 1) * 3 * kHeadDim],
                          &fused[(kCached - 1) * 3 * kHeadDim] + kHeadDim);
    rope(q.data(), kCached - 1, s.half_split);
    for (size_t j = 0; stream == 1 && j < kHeadDim / 2; ++j) {
      turn(q.data(), 2 * j, 2 * j + 1, theta[j]);
    }
    std::vector<double> sum(kHeadDim);
    double denominator = 0;
    for (size_t i = 0; i < kCached; ++i) {
      std::vector<double> k(&fused[i * 3 * kHeadDim + kHeadDim],
                            &fused[i * 3 * kHeadDim + kHeadDim] + kHeadDim);
      rope(k.data(), static_cast<double>(i), s.half_split);
      const double weight = std::exp(std::inner_product(q.begin(), q.end(), k.begin(), 0.0) /
                                     std::sqrt(double{kHeadDim}));
      denominator += weight;
      for (size_t d = 0; d < kHeadDim; ++d) {
        sum[d] += weight * fused[i * 3 * kHeadDim + 2 * kHeadDim + d];
      }
    }
    for (size_t d = 0; d < kHeadDim; ++d) {
      out[d] += (stream == 0 ? 1 : -lambda) * sum[d] / denominator;
    }
  }
  return out;
}

// The same through the operations: keys rotated at their stream positions, two frames of the query.
std::vector<double> by_two_frames(const Streaming& s, Twin& fused, Twin& theta, Twin& lambda) {
  const auto ops = make_reference_ops();
  constexpr int64_t kCached = Streaming::kSinks + Streaming::kRecent;
  const int64_t streams = s.coda ? 2 : 1;
  std::vector<int64_t> positions(kCached);
  std::vector<int64_t> bank_positions(kCached);
  for (int64_t i = 0; i < kCached; ++i) {
    const auto at = static_cast<size_t>(i);
    positions[at] = i < s.kSinks ? i : s.kPosition - (kCached - 1 - i);
    bank_positions[at] = i;
  }
  Twin q = Twin::output({2 * kCached, streams, 1, kHeadDim});
  Twin k = Twin::output({kCached, 1, kHeadDim});
  Twin v = Twin::output({kCached, 1, kHeadDim});
  Twin gate = Twin::output({kCached});
  PrepareHeadsParams heads;
  heads.fused = fused.on(*ops);
  heads.positions = view(positions);
  heads.bank_positions = view(bank_positions);
  heads.rope.half_split = s.half_split;
  heads.heads = heads.kv_heads = 1;
  heads.head_dim = kHeadDim;
  heads.theta = theta.on(*ops);
  heads.q = q.on(*ops);
  heads.k = k.on(*ops);
  heads.v = v.on(*ops);
  heads.gate = gate.on(*ops);
  ops->prepare_heads(heads);

  const ReflectingCodec codec(kHeadDim);
  std::vector<uint8_t> codes_k(static_cast<size_t>(kCached * codec.code_bytes()));
  std::vector<uint8_t> codes_v(codes_k.size());
  const SlotStore store{&codec, &codec, kCached, codes_k.data(), codes_v.data()};
  ops->store({k.on(*ops), v.on(*ops), 0, store, 0});

  // Every row is a query here; only the last one's cache is this one.
  const std::vector<AttentionBlock> blocks = {
      {kCached - 1,
       1,
       s.kPosition,
       {{store, 0, s.kSinks, -1, 0, nullptr, nullptr, 1},
        {store, s.kSinks, s.kRecent, s.kPosition - s.kRecent + 1, 0, nullptr, nullptr, 0}}}};
  Twin out = Twin::output({kCached, 1, kHeadDim});
  AttentionParams p;
  p.q = q.on(*ops);
  p.frames = 2;
  p.streams = static_cast<int>(streams);
  p.heads = p.kv_heads = 1;
  p.head_dim = kHeadDim;
  p.scale = 1 / std::sqrt(double{kHeadDim});
  p.lambda = lambda.on(*ops);
  p.blocks = blocks;
  p.out = out.on(*ops);
  ops->attention(p);
  return {out.wide().end() - kHeadDim, out.wide().end()};
}

// For two streams under half-split pairing R_theta does not commute with RoPE; frame 0 is
// RoPE_{p-c} of frame 1 for exactly this test's sake.
TEST(AttentionPropertyTest, TwoFramesArePositionsInsideTheCache) {
  Random random(kSeed + 43);
  for (const bool half_split : {true, false}) {
    for (const bool coda : {false, true}) {
      const Streaming s{half_split, coda};
      constexpr int64_t kCached = Streaming::kSinks + Streaming::kRecent;
      Twin fused = Twin::random({kCached, 3 * kHeadDim}, random);
      Twin theta = coda ? Twin::random({1, kHeadDim / 2}, random) : Twin();
      Twin lambda = coda ? Twin::random({kCached, 1}, random, 0, 0.375) : Twin();
      const auto expected = literal(s, fused.wide(), theta.wide(), 0.375);
      const auto found = by_two_frames(s, fused, theta, lambda);
      EXPECT_LT(relative_error(found, expected), 1e-12)
          << (half_split ? "half-split" : "interleaved") << (coda ? ", two streams" : "");
    }
  }
}

}  // namespace
}  // namespace kvg::ops_test
