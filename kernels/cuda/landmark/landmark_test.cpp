// The bank update on the GPU against the double-precision reference, step by step from the same
// state, so that one decision within rounding does not spoil the rest.

#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/landmark_agreement.h"
#include "kernels/cuda/landmark/landmark_test_util.h"
#include "kernels/cuda/landmark/scan.h"
#include "kernels/cuda/landmark/step.h"

#include <algorithm>
#include <vector>

namespace kvg::cuda {
namespace {

class CudaLandmarkTest : public GpuTest {};

const std::vector<int64_t> kSizes = {16, 1, 16, 7, 0, 33, 64, 16, 3, 16};

TEST_F(CudaLandmarkTest, FixedSemantics) {
  CudaContext context;
  for (const int kv_heads : {1, 2, 3, 8}) {
    for (const int head_dim : {64, 128}) {
      LandmarkCase test;
      test.name = "fixed, " + std::to_string(kv_heads) + " heads of " + std::to_string(head_dim);
      test.rules = fixed_rules();
      test.kv_heads = kv_heads;
      test.head_dim = head_dim;
      expect_agreement(context, test, kSizes, 1, 12);
    }
  }
}

TEST_F(CudaLandmarkTest, PublishedSemantics) {
  CudaContext context;
  for (const int kv_heads : {1, 2, 3, 8}) {
    for (const int head_dim : {64, 128}) {
      LandmarkCase test = published_case();
      test.name =
          "published, " + std::to_string(kv_heads) + " heads of " + std::to_string(head_dim);
      test.kv_heads = kv_heads;
      test.head_dim = head_dim;
      expect_agreement(context, test, kSizes, 2, 12);
      test.single = true;
      test.name += ", decode";
      expect_agreement(context, test, {1}, 3, 24);
    }
  }
}

// Each option by itself, from both presets.
std::vector<LandmarkCase> single_options() {
  std::vector<LandmarkCase> cases;
  const auto add = [&](const std::string& name, const LandmarkCase& from, auto change) {
    LandmarkCase test = from;
    change(test);
    test.name = name;
    cases.push_back(test);
  };
  LandmarkCase fixed;
  fixed.rules = fixed_rules();
  fixed.rules.exact_candidates = 8;
  fixed.rules.tau_merge = 0.7;
  LandmarkCase published = published_case();
  published.rules.bf16_arithmetic = false;
  published.summary_kind = CodecKind::f32;
  for (const LandmarkCase& from : {fixed, published}) {
    const std::string preset = from.resident ? "published " : "fixed ";
    for (const LandmarkRouting routing :
         {LandmarkRouting::live, LandmarkRouting::torch, LandmarkRouting::triton}) {
      const std::string name = preset + "routing " + std::to_string(static_cast<int>(routing));
      add(name, from, [&](LandmarkCase& c) { c.rules.routing = routing; });
      add(name + " single", from, [&](LandmarkCase& c) {
        c.rules.routing = routing;
        c.single = true;
      });
      for (const bool flag : {false, true}) {
        const std::string which = flag ? " on" : " off";
        const auto with = [&](const std::string& option, bool LandmarkRules::*member) {
          add(name + " " + option + which, from, [&](LandmarkCase& c) {
            c.rules.routing = routing;
            c.rules.*member = flag;
          });
        };
        with("refresh_on_hit", &LandmarkRules::refresh_on_hit);
        with("overwrite_on_insert", &LandmarkRules::overwrite_on_insert);
        with("delta_copy", &LandmarkRules::delta_copy);
        with("gated_rate", &LandmarkRules::gated_rate);
        with("energy_scale", &LandmarkRules::energy_scale);
        with("bf16_arithmetic", &LandmarkRules::bf16_arithmetic);
      }
      for (const LandmarkInsert insert : {LandmarkInsert::free, LandmarkInsert::compete}) {
        add(name + " insert " + std::to_string(static_cast<int>(insert)), from,
            [&](LandmarkCase& c) {
              c.rules.routing = routing;
              c.rules.insert = insert;
            });
      }
    }
    for (const LandmarkOrder order : {LandmarkOrder::sorted, LandmarkOrder::index}) {
      for (const LandmarkTie tie : {LandmarkTie::position, LandmarkTie::novelty}) {
        add(preset + "order " + std::to_string(static_cast<int>(order)) + " tie " +
                std::to_string(static_cast<int>(tie)),
            from, [&](LandmarkCase& c) {
              c.rules.order = order;
              c.rules.tie = tie;
            });
      }
    }
    add(preset + "few summary candidates", from,
        [](LandmarkCase& c) { c.rules.summary_candidates = 5; });
    add(preset + "many exact candidates", from,
        [](LandmarkCase& c) { c.rules.exact_candidates = 40; });
    add(preset + "no candidates", from, [](LandmarkCase& c) { c.rules.exact_candidates = 0; });
    add(preset + "all slots sinks", from, [](LandmarkCase& c) { c.rules.sinks = c.exact; });
    add(preset + "resident", from, [](LandmarkCase& c) { c.resident = !c.resident; });
    add(preset + "counts", from, [](LandmarkCase& c) { c.counts = !c.counts; });
    add(preset + "noise", from, [](LandmarkCase& c) { c.noise = !c.noise; });
    add(preset + "band", from, [](LandmarkCase& c) { c.band = !c.band; });
    add(preset + "odd band", from, [](LandmarkCase& c) { c.band_dims = 13; });
    for (const int head_dim : {64, 128}) {
      add(preset + "all dimensions of " + std::to_string(head_dim), from, [&](LandmarkCase& c) {
        c.head_dim = c.band_dims = head_dim;
        c.band = false;
      });
    }
    add(preset + "bf16 averages", from, [](LandmarkCase& c) { c.summary_kind = CodecKind::bf16; });
    add(preset + "no exact", from, [](LandmarkCase& c) { c.exact = c.rules.sinks = 0; });
    add(preset + "no summary", from, [](LandmarkCase& c) { c.summary = 0; });
  }
  return cases;
}

TEST_F(CudaLandmarkTest, EveryOption) {
  CudaContext context;
  uint64_t seed = 100;
  for (LandmarkCase test : single_options()) {
    test.kv_heads = seed % 3 == 0 ? 3 : 2;
    expect_agreement(context, test, kSizes, seed++, 10);
  }
}

TEST_F(CudaLandmarkTest, EveryCodec) {
  CudaContext context;
  std::vector<CodecSpec> specs = {{.kind = CodecKind::f32},
                                  {.kind = CodecKind::fp8},
                                  {.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector},
                                  {.kind = CodecKind::int8}};
  for (int bits = 1; bits <= 4; ++bits) specs.push_back({.kind = CodecKind::eden, .bits = bits});
  specs.push_back({.kind = CodecKind::eden, .rotation = Rotation::haar});
  for (const CodecSpec& spec : specs) {
    for (const bool delta : {false, true}) {
      LandmarkCase test;
      test.name = "codec " + std::to_string(static_cast<int>(spec.kind)) + " of " +
                  std::to_string(spec.bits) + " bits" + (delta ? ", delta" : "");
      test.rules = fixed_rules();
      test.rules.exact_candidates = 6;
      test.rules.delta_copy = delta;
      test.exact_codec = spec;
      test.head_dim = spec.bits == 2 ? 128 : 64;
      expect_agreement(context, test, kSizes, 300, 10);
    }
  }
}

// Gates as a model without a write gate has them: novelty alone decides.
TEST_F(CudaLandmarkTest, EqualGates) {
  CudaContext context;
  LandmarkCase test;
  test.name = "equal gates";
  test.rules = fixed_rules();
  const LandmarkCodecs codecs(test);
  TokenStream tokens = random_tokens(test, 200, 5);
  tokens.gate.assign(tokens.gate.size(), 1.0f);
  BankMemory host(test, codecs, false), device(test, codecs, true), got(test, codecs, false);
  device.set_bytes(host.bytes());
  const std::vector<LandmarkStep> steps = {
      {0, 16, false, nullptr}, {16, 90, false, nullptr}, {90, 200, false, nullptr}};
  device_scan(context, test, codecs, tokens, 0, steps, device.bank());
  reference_scan(test, codecs, tokens, 0, steps, host.bank());
  got.set_bytes(device.bytes());
  EXPECT_TRUE(difference(test, got.bank(), host.bank()).within(2e-5));
}

// Banks that do not fit into shared memory, and evictions far larger than a bank.
TEST_F(CudaLandmarkTest, LargeBanks) {
  CudaContext context;
  for (const bool published : {false, true}) {
    LandmarkCase test = published ? published_case() : LandmarkCase{};
    if (!published) test.rules = fixed_rules();
    test.rules.bf16_arithmetic = false;
    test.name = published ? "published, large" : "fixed, large";
    test.summary_kind = CodecKind::f32;
    test.rules.exact_candidates = 100;
    test.head_dim = 128;
    test.kv_heads = 3;
    test.exact = 500;
    test.summary = 300;
    expect_agreement(context, test, {300, 16}, 7, 4);
  }
}

std::vector<LandmarkCase> presets() {
  LandmarkCase fixed;
  fixed.name = "fixed";
  fixed.rules = fixed_rules();
  LandmarkCase published = published_case();
  LandmarkCase refreshed = fixed;  // a rule that only the kernels for all rules know
  refreshed.name = "fixed, refreshed";
  refreshed.rules.refresh_on_hit = true;
  return {fixed, refreshed, published};
}

// A call with many steps does what the steps do alone, each snapshot is the bank at its moment, and
// all of it is the same bytes when repeated.
TEST_F(CudaLandmarkTest, StepsSnapshotsAndRepetition) {
  CudaContext context;
  for (LandmarkCase test : presets()) {
    test.kv_heads = 3;
    const LandmarkCodecs codecs(test);
    const TokenStream tokens = random_tokens(test, 200, 8);
    const std::vector<int64_t> ends = {0, 16, 32, 32, 48, 112, 128, 129, 200};
    BankMemory alone(test, codecs, true);
    alone.set_bytes(initial_bytes(test, codecs));
    std::vector<LandmarkStep> steps;
    std::vector<std::unique_ptr<BankMemory>> snapshots;
    std::vector<std::vector<uint8_t>> moments;
    for (size_t i = 1; i < ends.size(); ++i) {
      snapshots.push_back(std::make_unique<BankMemory>(test, codecs, true, true));
      steps.push_back({ends[i - 1], ends[i], false, &snapshots.back()->bank()});
      device_scan(context, test, codecs, tokens, ends[i - 1],
                  {{0, ends[i] - ends[i - 1], false, nullptr}}, alone.bank());
      moments.push_back(alone.bytes());
    }
    for (int repetition = 0; repetition < 2; ++repetition) {
      BankMemory together(test, codecs, true);
      together.set_bytes(initial_bytes(test, codecs));
      device_scan(context, test, codecs, tokens, 0, steps, together.bank());
      EXPECT_EQ(together.bytes(), alone.bytes()) << test.name;
      for (size_t i = 0; i < steps.size(); ++i) {
        BankMemory moment(test, codecs, false), snapshot(test, codecs, false, true);
        moment.set_bytes(moments[i]);
        snapshot.set_bytes(snapshots[i]->bytes());
        const auto expected = reference_snapshot(test, codecs, moment.bank());
        EXPECT_TRUE(difference(test, snapshot.bank(), expected->bank()).within(0))
            << test.name << " snapshot " << i;
      }
    }
  }
}

TEST_F(CudaLandmarkTest, RefreshesUnits) {
  CudaContext context;
  LandmarkCase test = published_case();
  const LandmarkCodecs codecs(test);
  const std::vector<uint8_t> bytes = initial_bytes(test, codecs);
  BankMemory host(test, codecs, false), device(test, codecs, true), got(test, codecs, false);
  host.set_bytes(bytes);
  std::vector<uint8_t> spoiled = bytes;
  const auto at = static_cast<const uint8_t*>(host.bank().exact_unit) - host.bank().exact.k_codes;
  std::fill(spoiled.begin() + at, spoiled.end(), uint8_t{0x41});
  device.set_bytes(spoiled);
  device_scan(context, test, codecs, random_tokens(test, 1, 9), 0, {}, device.bank(), true);
  got.set_bytes(device.bytes());
  EXPECT_LE(difference(test, got.bank(), host.bank()).units, 1e-3);
  EXPECT_EQ(difference(test, got.bank(), host.bank()).decisions, 0);
}

}  // namespace
}  // namespace kvg::cuda
