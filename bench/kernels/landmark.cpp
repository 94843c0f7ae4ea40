#include "kernels/landmark.h"

#include "bench/kernels/banks.h"
#include "bench/kernels/harness.h"
#include "kernels/cuda/codec/store.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/scan.h"
#include "kernels/decode.h"

#include <algorithm>
#include <bit>

namespace kvg {

namespace {

constexpr int kHeadDim = 128;
constexpr int64_t kBlock = 256, kFar = 20000;

// What both banks hold, decoded.
struct BankContents {
  LoadParams exact, summary;
};

BankContents contents(Tensors& t, const LandmarkBank& bank) {
  const auto load = [&t](const SlotStore& store) {
    LoadParams p;
    p.k = t.output(DType::bf16, {store.capacity, kBenchKvHeads, kHeadDim});
    p.v = t.output(DType::bf16, {store.capacity, kBenchKvHeads, kHeadDim});
    p.store = store;
    return p;
  };
  return {load(bank.exact), load(bank.summary)};
}

std::vector<Tensor> tensors_of(const BankContents& c) {
  return {c.exact.k, c.exact.v, c.summary.k, c.summary.v};
}

// The bank update of one prefill call: evictions of `block` tokens, a snapshot after each.
struct ScanCase {
  int64_t tokens = 0;
  int64_t block = kBlock;
  int64_t directions = 0;  // of keys and values: 0 for independent tokens
};

struct Scan {
  LandmarkParams params;
  std::vector<LandmarkBank> snapshots;
  std::vector<LandmarkStep> steps;
  BankContents contents;
};

// Tokens near one of a few directions in turn, as those of a trained model are: many are alike.
std::vector<float> alike_tokens(int64_t tokens, int64_t directions, uint64_t seed) {
  constexpr int64_t kRow = int64_t{kBenchKvHeads} * kHeadDim;
  const auto uniform = [](uint64_t draw) {
    return static_cast<float>(splitmix64(draw) >> 40) * 0x1p-23f - 1;
  };
  std::vector<float> values;
  for (int64_t t = 0; t < tokens; ++t) {
    const uint64_t which =
        splitmix64(seed + static_cast<uint64_t>(t / 3)) % static_cast<uint64_t>(directions);
    for (int64_t d = 0; d < kRow; ++d) {
      const float common = uniform(seed + (which << 32) + static_cast<uint64_t>(d));
      const float own = uniform(~seed - static_cast<uint64_t>(t * kRow + d));
      values.push_back(common + 0.4f * own);
    }
  }
  return values;
}

std::function<Scan(Tensors&)> scan(const ScanCase& c) {
  return [c](Tensors& t) {
    Scan s;
    LandmarkParams& p = s.params;
    const auto tokens = [&](uint64_t seed) {
      if (c.directions == 0) return t.random(DType::bf16, {c.tokens, kBenchKvHeads, kHeadDim});
      return t.reals(DType::bf16, {c.tokens, kBenchKvHeads, kHeadDim},
                     alike_tokens(c.tokens, c.directions, seed));
    };
    p.k = tokens(1);
    p.v = tokens(2);
    std::vector<int32_t> gates;  // f32 on either side
    for (int64_t i = 0; i < c.tokens; ++i) {
      const auto draw = static_cast<float>(splitmix64(static_cast<uint64_t>(i)) >> 40);
      gates.push_back(std::bit_cast<int32_t>(draw * 0x1p-24f));
    }
    p.gate = t.tokens(gates);
    p.gate.dtype = DType::f32;
    p.eta = bank_codecs().eta.data();
    p.slow_dims = bank_codecs().slow_dims;
    p.bank = make_bank(t, false);
    p.rules = bench_rules();
    p.rules.exact_candidates = (c.block + 7) / 8;
    for (int64_t begin = 0; begin < c.tokens; begin += c.block) {
      s.snapshots.push_back(make_bank(t, true));
      s.steps.push_back({begin, std::min(begin + c.block, c.tokens), false, nullptr});
    }
    s.contents = contents(t, s.snapshots.back());
    return s;
  };
}

void point(Scan& s) {
  for (size_t i = 0; i < s.steps.size(); ++i) s.steps[i].snapshot = &s.snapshots[i];
  s.params.steps = s.steps;
}

void add_scan(Workbench& bench) {
  Operation<Scan> operation;
  operation.device = [&bench](Scan& s) {
    point(s);
    cuda::landmark_scan(bench.context, s.params);
    cuda::load(bench.context, s.contents.exact);
    cuda::load(bench.context, s.contents.summary);
  };
  operation.reference = [&bench](Scan& s) {
    point(s);
    bench.reference->landmark(s.params);
    bench.reference->load(s.contents.exact);
    bench.reference->load(s.contents.summary);
  };
  operation.results = [](const Scan& s) { return tensors_of(s.contents); };
  const auto add_case = [&](const std::string& name, const ScanCase& c) {
    ScanCase few = c;
    few.tokens = 600;
    const auto large = scan(c);
    Subject& subject = add<Scan>(bench, "landmark_scan/" + name, operation, scan(few), large);
    subject.make = [&bench, large](Tensors& t) {
      const auto s = std::make_shared<Scan>(large(t));
      return Work{[&bench, s] {
                    point(*s);
                    cuda::landmark_scan(bench.context, s->params);
                  },
                  false};
    };
  };
  for (const int64_t tokens : {2048, 8192, 32768}) {
    add_case("tokens:" + std::to_string(tokens), {tokens});
  }
  constexpr int64_t kTokens = 8192;
  for (const int64_t block : {16, 64}) {
    const std::string name = "block:" + std::to_string(block) + "/tokens:8192";
    add_case(name, {kTokens, block});
    add_case(name + "/alike", {kTokens, block, 40});
    add_case(name + "/one", {kTokens, block, 1});  // nearly all to one slot, as in a real pass
  }
}

// The bank update of one decode step: a token leaves the window of every layer and sequence.
struct Step {
  DecodePlan plan;
  std::vector<DecodeCache> caches;
  std::shared_ptr<DecodeState> state;
  Tensor positions;
  BankContents contents;
};

std::function<Step(Tensors&)> step(int64_t layers, int64_t sequences) {
  return [layers, sequences](Tensors& t) {
    Step s;
    s.plan = landmark_plan(sequences, layers, 2 * kFar);
    for (int64_t i = 0; i < layers * sequences; ++i) {
      s.caches.push_back(landmark_cache(t, *bank_codecs().exact));
    }
    s.positions = t.integers(std::vector<int64_t>(static_cast<size_t>(sequences), kFar));
    s.contents = contents(t, s.caches.back().landmark);
    return s;
  };
}

void add_step(Workbench& bench) {
  const auto evict = [&bench](Step& s) {
    if (!s.state) {
      s.state = std::make_shared<cuda::CudaDecodeState>(bench.context, s.plan, s.caches);
    }
    cuda::decode_evict(bench.context, static_cast<cuda::CudaDecodeState&>(*s.state), s.positions);
  };
  Operation<Step> operation;
  operation.device = [&bench, evict](Step& s) {
    evict(s);
    cuda::load(bench.context, s.contents.exact);
    cuda::load(bench.context, s.contents.summary);
  };
  operation.reference = [&bench](Step& s) {
    s.state = bench.reference->prepare_decode(s.plan, s.caches);
    bench.reference->decode_evict(*s.state, s.positions);
    bench.reference->load(s.contents.exact);
    bench.reference->load(s.contents.summary);
  };
  operation.results = [](const Step& s) { return tensors_of(s.contents); };
  for (const int64_t batch : {1, 64}) {
    constexpr int64_t kLayers = 32;
    const auto large = step(kLayers, batch);
    Subject& subject = add<Step>(bench, "landmark_step/layers:32/batch:" + std::to_string(batch),
                                 operation, step(2, 3), large);
    subject.make = [evict, large](Tensors& t) {
      const auto s = std::make_shared<Step>(large(t));
      return Work{[evict, s] { evict(*s); }};
    };
  }
}

}  // namespace

void add_landmark(Workbench& bench) {
  add_scan(bench);
  add_step(bench);
}

}  // namespace kvg
