// The kernels for the fixed semantics (live_scan.h, live_step.h): the shapes they are made for,
// against the reference and against the kernels for all rules.

#include "kernels/cuda/landmark/landmark_agreement.h"
#include "kernels/cuda/landmark/landmark_test_util.h"
#include "kernels/cuda/landmark/live_scan.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace kvg::cuda {
namespace {

class CudaLiveLandmarkTest : public GpuTest {};

LandmarkCase live_case(const std::string& name) {
  LandmarkCase test;
  test.name = name;
  test.rules = fixed_rules();
  test.exact = test.summary = 64;
  test.head_dim = 128;
  return test;
}

// The same decisions by other rules, which only the kernels for all rules know: a hit would replace
// the slot it hits, but nothing is similar enough for one.
LandmarkCase general(const LandmarkCase& test) {
  LandmarkCase other = test;
  other.rules.refresh_on_hit = true;
  other.rules.tau_match = 2;
  return other;
}

TEST_F(CudaLiveLandmarkTest, HeadsAndDimensions) {
  CudaContext context;
  uint64_t seed = 500;
  for (const int kv_heads : {1, 2, 3, 5, 8}) {
    for (const int head_dim : {64, 128}) {
      for (const int64_t slots : {64, 20}) {
        LandmarkCase test = live_case("live, " + std::to_string(kv_heads) + " heads of " +
                                      std::to_string(head_dim) + ", " + std::to_string(slots));
        test.kv_heads = kv_heads;
        test.head_dim = head_dim;
        test.exact = test.summary = slots;
        expect_agreement(context, test, {16, 16, 16, 9, 1, 0, 16}, seed++, 20);
      }
    }
  }
}

// Little enough for tools that watch every access (compute-sanitizer).
TEST_F(CudaLiveLandmarkTest, FewTokens) {
  CudaContext context;
  LandmarkCase test = live_case("live, few tokens");
  test.rules.exact_candidates = 2;
  const LandmarkCodecs codecs(test);
  const TokenStream tokens = random_tokens(test, 64, 550);
  BankMemory host(test, codecs, false), device(test, codecs, true), got(test, codecs, false);
  BankMemory snapshot(test, codecs, true, true), copy(test, codecs, false, true);
  device.set_bytes(host.bytes());
  std::vector<LandmarkStep> steps = {
      {0, 16, false, nullptr}, {16, 32, false, nullptr}, {32, 64, false, nullptr}};
  reference_scan(test, codecs, tokens, 0, steps, host.bank());
  const auto expected = reference_snapshot(test, codecs, host.bank());
  steps.back().snapshot = &snapshot.bank();
  device_scan(context, test, codecs, tokens, 0, steps, device.bank());
  got.set_bytes(device.bytes());
  EXPECT_TRUE(difference(test, got.bank(), host.bank()).within(2e-5));
  copy.set_bytes(snapshot.bytes());
  EXPECT_TRUE(difference(test, copy.bank(), expected->bank()).within(1e-4));
}

TEST_F(CudaLiveLandmarkTest, Blocks) {
  CudaContext context;
  uint64_t seed = 600;
  for (const int64_t block : {16, 17, 64, 100, 256}) {
    for (const bool equal_gates : {false, true}) {
      LandmarkCase test =
          live_case("live, block " + std::to_string(block) + (equal_gates ? ", equal gates" : ""));
      test.kv_heads = 4;
      test.rules.exact_candidates = (block + 7) / 8;
      test.rules.tau_merge = 0.8;
      expect_agreement(context, test, {block, block, block / 2 + 1}, seed++, block > 64 ? 6 : 24,
                       equal_gates);
    }
  }
}

TEST_F(CudaLiveLandmarkTest, Options) {
  CudaContext context;
  std::vector<LandmarkCase> cases;
  const auto add = [&cases](const std::string& name, auto change) {
    LandmarkCase test = live_case("live, " + name);
    test.kv_heads = 3;
    test.head_dim = 64;
    test.rules.tau_merge = 0.8;
    change(test);
    cases.push_back(test);
  };
  add("rates without gates", [](LandmarkCase& c) { c.rules.gated_rate = false; });
  add("without counts", [](LandmarkCase& c) { c.counts = false; });
  add("no sinks", [](LandmarkCase& c) { c.rules.sinks = 0; });
  add("20 sinks", [](LandmarkCase& c) { c.rules.sinks = 20; });
  add("sinks only", [](LandmarkCase& c) { c.rules.sinks = c.exact = 7; });
  add("ties by position", [](LandmarkCase& c) { c.rules.tie = LandmarkTie::position; });
  add("no candidates", [](LandmarkCase& c) { c.rules.exact_candidates = 0; });
  add("all candidates", [](LandmarkCase& c) { c.rules.exact_candidates = 1000; });
  add("one exact slot", [](LandmarkCase& c) {
    c.exact = 5;
    c.rules.exact_candidates = 16;
  });
  add("no exact bank", [](LandmarkCase& c) { c.exact = c.rules.sinks = 0; });
  add("no summary bank", [](LandmarkCase& c) { c.summary = 0; });
  add("one summary slot", [](LandmarkCase& c) { c.summary = 1; });
  add("every token joins", [](LandmarkCase& c) { c.rules.tau_merge = -1; });
  add("no token joins", [](LandmarkCase& c) { c.rules.tau_merge = 2; });
  add("noise", [](LandmarkCase& c) { c.noise = true; });
  uint64_t seed = 700;
  for (const LandmarkCase& test : cases) {
    expect_agreement(context, test, {16, 16, 40, 7, 16}, seed++, 20);
    expect_agreement(context, test, {16}, seed++, 12, /*equal_gates=*/true);
  }
}

// Step by step from the same state; a decision within rounding may differ.
TEST_F(CudaLiveLandmarkTest, AgreesWithTheKernelsForAllRules) {
  CudaContext context;
  LandmarkCase test = live_case("live or not");
  test.kv_heads = 8;
  const LandmarkCase other = general(test);
  const LandmarkCodecs codecs(test);
  constexpr int64_t kSteps = 120;
  const TokenStream tokens = random_tokens(test, 16 * kSteps, 800);
  BankMemory live(test, codecs, true), all(test, codecs, true);
  BankMemory live_host(test, codecs, false), all_host(test, codecs, false);
  live.set_bytes(initial_bytes(test, codecs));
  all.set_bytes(initial_bytes(test, codecs));
  int different = 0;
  for (int64_t i = 0; i < kSteps; ++i) {
    device_scan(context, test, codecs, tokens, 16 * i, {{0, 16, false, nullptr}}, live.bank());
    device_scan(context, other, codecs, tokens, 16 * i, {{0, 16, false, nullptr}}, all.bank());
    live_host.set_bytes(live.bytes());
    all_host.set_bytes(all.bytes());
    different += difference(test, live_host.bank(), all_host.bank()).within(2e-5) ? 0 : 1;
    all.set_bytes(live_host.bytes());
  }
  EXPECT_LE(different, 2) << "of " << kSteps << " steps";
}

// More sequences than run beside the stream at once, each in two calls, do what they do alone.
TEST_F(CudaLiveLandmarkTest, SequencesBesideEachOther) {
  CudaContext context;
  LandmarkCase test = live_case("beside");
  test.kv_heads = 8;
  const LandmarkCodecs codecs(test);
  constexpr int64_t kTokens = 512;
  std::vector<LandmarkStep> steps;
  for (int64_t i = 0; i < kTokens; i += 16) steps.push_back({i, i + 16, false, nullptr});
  std::vector<std::unique_ptr<BankMemory>> banks;
  std::vector<std::unique_ptr<DeviceScan>> scans;
  std::vector<TokenStream> tokens;
  for (uint64_t i = 0; i < 7; ++i) {
    banks.push_back(std::make_unique<BankMemory>(test, codecs, true));
    banks.back()->set_bytes(initial_bytes(test, codecs));
    tokens.push_back(random_tokens(test, 2 * kTokens, 850 + i));
  }
  for (const int64_t begin : {int64_t{0}, kTokens}) {
    for (size_t i = 0; i < banks.size(); ++i) {
      scans.push_back(
          std::make_unique<DeviceScan>(test, codecs, tokens[i], begin, steps, banks[i]->bank()));
      scans.back()->params.beside = true;
      landmark_scan(context, scans.back()->params);
    }
    context.wait_beside(test.layer, Phase::attention);
  }
  context.synchronize();
  for (size_t i = 0; i < banks.size(); ++i) {
    BankMemory alone(test, codecs, true);
    alone.set_bytes(initial_bytes(test, codecs));
    for (const int64_t begin : {int64_t{0}, kTokens}) {
      device_scan(context, test, codecs, tokens[i], begin, steps, alone.bank());
    }
    EXPECT_TRUE(alone.bytes() == banks[i]->bytes()) << "sequence " << i;
  }
}

// A call of many steps does what calls of one step do, its snapshots are the bank at their moments,
// and all is the same bytes when repeated.
TEST_F(CudaLiveLandmarkTest, LongCalls) {
  CudaContext context;
  for (const int64_t block : {16, 64, 256}) {
    LandmarkCase test = live_case("long call");
    test.kv_heads = block == 64 ? 5 : 8;
    test.head_dim = block == 256 ? 64 : 128;
    test.rules.exact_candidates = block / 8;
    const LandmarkCodecs codecs(test);
    const int64_t count = 2048 / block;
    const TokenStream tokens = random_tokens(test, count * block, 900);
    std::vector<std::unique_ptr<BankMemory>> snapshots;
    std::vector<LandmarkStep> steps;
    for (int64_t i = 0; i < count; ++i) {
      snapshots.push_back(std::make_unique<BankMemory>(test, codecs, true, true));
      steps.push_back(
          {i * block, (i + 1) * block, false, i % 3 == 1 ? nullptr : &snapshots.back()->bank()});
    }
    std::vector<std::vector<uint8_t>> first;
    for (int repetition = 0; repetition < 3; ++repetition) {
      BankMemory bank(test, codecs, true);
      bank.set_bytes(initial_bytes(test, codecs));
      device_scan(context, test, codecs, tokens, 0, steps, bank.bank());
      std::vector<std::vector<uint8_t>> all = {bank.bytes()};
      for (const auto& snapshot : snapshots) all.push_back(snapshot->bytes());
      if (repetition == 0) first = all;
      EXPECT_TRUE(all == first) << "block " << block << ", repetition " << repetition;
    }
    BankMemory alone(test, codecs, true), moment(test, codecs, false);
    BankMemory snapshot(test, codecs, false, true);
    alone.set_bytes(initial_bytes(test, codecs));
    for (int64_t i = 0; i < count; ++i) {
      device_scan(context, test, codecs, tokens, i * block, {{0, block, false, nullptr}},
                  alone.bank());
      if (steps[static_cast<size_t>(i)].snapshot == nullptr) continue;
      moment.set_bytes(alone.bytes());
      snapshot.set_bytes(first[static_cast<size_t>(i + 1)]);
      const auto expected = reference_snapshot(test, codecs, moment.bank());
      EXPECT_TRUE(difference(test, snapshot.bank(), expected->bank()).within(0))
          << "block " << block << ", snapshot " << i;
    }
    EXPECT_TRUE(alone.bytes() == first[0]) << "block " << block;
  }
}

// Keys or values of a call as slots hold them: heads apart, the first token in a slot of its own.
class SlotTokens {
 public:
  static constexpr int64_t kFirstSlot = 5, kMoreSlots = 7;

  SlotTokens(const LandmarkCase& test, const std::vector<double>& packed, int64_t tokens)
      : capacity_(kFirstSlot + tokens + kMoreSlots),
        dim_(test.head_dim),
        memory_(static_cast<size_t>(2 * test.kv_heads * capacity_ * dim_)) {
    std::vector<double> slots(static_cast<size_t>(test.kv_heads * capacity_ * dim_), 1e4);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < test.kv_heads; ++h) {
        const auto from = packed.begin() + (t * test.kv_heads + h) * dim_;
        std::copy_n(from, dim_, slots.begin() + (h * capacity_ + kFirstSlot + t) * dim_);
      }
    }
    memory_.upload(slots, DType::bf16);
  }
  int64_t head_stride() const { return capacity_ * dim_; }
  void* first() const { return static_cast<uint16_t*>(memory_.data()) + kFirstSlot * dim_; }

 private:
  int64_t capacity_, dim_;
  TestBuffer memory_;
};

// Tokens that lie as in slots do what packed ones do, bit by bit: pinned, chosen as candidates of
// an eviction of several tiles, and taken in turn.
TEST_F(CudaLiveLandmarkTest, TokensInSlots) {
  CudaContext context;
  for (const int64_t block : {16, 100}) {
    for (const int head_dim : {64, 128}) {
      LandmarkCase test = live_case("in slots");
      test.kv_heads = block == 16 ? 8 : 3;
      test.head_dim = head_dim;
      test.rules.exact_candidates = (block + 7) / 8;
      const LandmarkCodecs codecs(test);
      const int64_t count = 10 * block + 5;
      const TokenStream tokens = random_tokens(test, count, 950);
      BankMemory packed(test, codecs, true), slots(test, codecs, true);
      std::vector<std::unique_ptr<BankMemory>> snapshots;
      std::vector<LandmarkStep> steps;
      for (int64_t begin = 0; begin < count; begin += block) {
        snapshots.push_back(std::make_unique<BankMemory>(test, codecs, true, true));
        steps.push_back({begin, std::min(begin + block, count), false, &snapshots.back()->bank()});
      }
      const auto all_bytes = [&](const BankMemory& bank) {
        std::vector<std::vector<uint8_t>> all = {bank.bytes()};
        for (const auto& snapshot : snapshots) all.push_back(snapshot->bytes());
        return all;
      };
      packed.set_bytes(initial_bytes(test, codecs));
      slots.set_bytes(initial_bytes(test, codecs));
      device_scan(context, test, codecs, tokens, 0, steps, packed.bank());
      const auto expected = all_bytes(packed);
      const std::vector<uint8_t> nothing(snapshots.front()->bytes().size());
      for (const auto& snapshot : snapshots) snapshot->set_bytes(nothing);

      DeviceScan scan(test, codecs, tokens, 0, steps, slots.bank());
      const SlotTokens k(test, tokens.k, count), v(test, tokens.v, count);
      scan.params.k.data = k.first();
      scan.params.v.data = v.first();
      scan.params.token_stride = head_dim;
      scan.params.head_stride = k.head_stride();
      ASSERT_TRUE(live_scan_fits(context, scan.params));
      landmark_scan(context, scan.params);
      context.synchronize();
      EXPECT_TRUE(all_bytes(slots) == expected) << "block " << block << ", " << head_dim;
    }
  }
}

TEST_F(CudaLiveLandmarkTest, OthersTakeNoStrides) {
  CudaContext context;
  const LandmarkCase test = general(live_case("general"));
  const LandmarkCodecs codecs(test);
  const TokenStream tokens = random_tokens(test, 16, 960);
  BankMemory bank(test, codecs, true);
  bank.set_bytes(initial_bytes(test, codecs));
  const std::vector<LandmarkStep> steps = {{0, 16, false, nullptr}};
  DeviceScan scan(test, codecs, tokens, 0, steps, bank.bank());
  scan.params.token_stride = int64_t{test.kv_heads} * test.head_dim;
  scan.params.head_stride = test.head_dim;
  EXPECT_FALSE(live_scan_fits(context, scan.params));
  EXPECT_THROW(landmark_scan(context, scan.params), std::logic_error);
}

}  // namespace
}  // namespace kvg::cuda
