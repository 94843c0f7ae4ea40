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

// The bank update of one prefill call: evictions of 256 tokens, a snapshot after each.
struct Scan {
  LandmarkParams params;
  std::vector<LandmarkBank> snapshots;
  std::vector<LandmarkStep> steps;
  BankContents contents;
};

std::function<Scan(Tensors&)> scan(int64_t tokens) {
  return [tokens](Tensors& t) {
    Scan s;
    LandmarkParams& p = s.params;
    p.k = t.random(DType::bf16, {tokens, kBenchKvHeads, kHeadDim});
    p.v = t.random(DType::bf16, {tokens, kBenchKvHeads, kHeadDim});
    std::vector<int32_t> gates;  // f32 on either side
    for (int64_t i = 0; i < tokens; ++i) {
      const auto draw = static_cast<float>(splitmix64(static_cast<uint64_t>(i)) >> 40);
      gates.push_back(std::bit_cast<int32_t>(draw * 0x1p-24f));
    }
    p.gate = t.tokens(gates);
    p.gate.dtype = DType::f32;
    p.eta = bank_codecs().eta.data();
    p.slow_dims = bank_codecs().slow_dims;
    p.bank = make_bank(t, false);
    p.rules = bench_rules();
    for (int64_t begin = 0; begin < tokens; begin += kBlock) {
      s.snapshots.push_back(make_bank(t, true));
      s.steps.push_back({begin, std::min(begin + kBlock, tokens), false, nullptr});
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
  for (const int64_t tokens : {2048, 8192, 32768}) {
    const auto large = scan(tokens);
    Subject& subject = add<Scan>(bench, "landmark_scan/tokens:" + std::to_string(tokens), operation,
                                 scan(600), large);
    subject.make = [&bench, large](Tensors& t) {
      const auto s = std::make_shared<Scan>(large(t));
      return Work{[&bench, s] {
                    point(*s);
                    cuda::landmark_scan(bench.context, s->params);
                  },
                  false};
    };
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
