#include "bench/kernels/harness.h"
#include "kernels/cuda/fused/ops.h"
#include "kernels/decode.h"

namespace kvg {

namespace {

constexpr int64_t kVocab = 32768;

void add_nll(Workbench& bench) {
  Operation<NllParams> nll;
  nll.device = [&bench](NllParams& p) { cuda::nll(bench.context, p); };
  nll.reference = [&bench](NllParams& p) { bench.reference->nll(p); };
  nll.results = [](const NllParams& p) { return std::vector<Tensor>{p.nll}; };
  nll.tolerance = 1e-6;
  const auto make = [](int64_t rows) {
    return [rows](Tensors& t) {
      NllParams p;
      p.logits = t.random(DType::f32, {rows, kVocab}, 5);
      p.targets = t.tokens(std::vector<int32_t>(static_cast<size_t>(rows), 1234));
      p.nll = t.output(DType::f64, {rows});
      return p;
    };
  };
  for (const int64_t rows : {1, 2048}) {
    add<NllParams>(bench, "nll/rows:" + std::to_string(rows), nll, make(3), make(rows));
  }
}

void add_sample(Workbench& bench) {
  Operation<SampleParams> sample;
  sample.device = [&bench](SampleParams& p) { cuda::sample(bench.context, p); };
  sample.reference = [&bench](SampleParams& p) { bench.reference->sample(p); };
  sample.results = [](const SampleParams& p) { return std::vector<Tensor>{p.tokens}; };
  sample.tolerance = 0;
  const auto make = [](int64_t rows, double temperature) {
    return [rows, temperature](Tensors& t) {
      SampleParams p;
      p.logits = t.random(DType::f32, {rows, kVocab}, 5);
      p.temperature = temperature;
      p.top_p = 0.9;
      p.positions = t.integers(std::vector<int64_t>(static_cast<size_t>(rows), 77));
      p.tokens = t.output(DType::i32, {rows});
      return p;
    };
  };
  for (const bool greedy : {true, false}) {
    for (const int64_t rows : {1, 64}) {
      add<SampleParams>(
          bench,
          std::string("sample/") + (greedy ? "greedy" : "top_p") + "/rows:" + std::to_string(rows),
          sample, make(3, greedy ? 0 : 1), make(rows, greedy ? 0 : 1));
    }
  }
}

}  // namespace

void add_logits(Workbench& bench) {
  add_nll(bench);
  add_sample(bench);
}

}  // namespace kvg
