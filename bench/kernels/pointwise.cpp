#include "bench/kernels/harness.h"
#include "kernels/cuda/fused/ops.h"

namespace kvg {

namespace {

// The geometry of Mistral-7B (and, in the tests, smaller ones).
constexpr int64_t kHidden = 4096, kFfn = 14336, kVocab = 32768;

void add_norms(Workbench& bench) {
  Operation<RmsNormParams> norm;
  norm.device = [&bench](RmsNormParams& p) { cuda::rms_norm(bench.context, p); };
  norm.reference = [&bench](RmsNormParams& p) { bench.reference->rms_norm(p); };
  norm.results = [](const RmsNormParams& p) { return std::vector<Tensor>{p.out, p.x}; };
  const auto make = [](int64_t rows) {
    return [rows](Tensors& t) {
      RmsNormParams p;
      p.x = t.random(DType::bf16, {rows, kHidden});
      p.delta = t.random(DType::bf16, {rows, kHidden});
      p.weight = t.random(DType::bf16, {kHidden}, 0.5, 1);
      p.out = t.output(DType::bf16, {rows, kHidden});
      return p;
    };
  };
  for (const int64_t rows : {1, 64, 256, 8192}) {
    add<RmsNormParams>(bench, "rms_norm/rows:" + std::to_string(rows), norm, make(3), make(rows));
  }

  Operation<SwigluParams> swiglu;
  swiglu.device = [&bench](SwigluParams& p) { cuda::swiglu(bench.context, p); };
  swiglu.reference = [&bench](SwigluParams& p) { bench.reference->swiglu(p); };
  swiglu.results = [](const SwigluParams& p) { return std::vector<Tensor>{p.out}; };
  const auto make_swiglu = [](int64_t rows) {
    return [rows](Tensors& t) {
      SwigluParams p;
      p.gate_up = t.random(DType::bf16, {rows, 2 * kFfn}, 4);
      p.out = t.output(DType::bf16, {rows, kFfn});
      return p;
    };
  };
  for (const int64_t rows : {1, 64, 8192}) {
    add<SwigluParams>(bench, "swiglu/rows:" + std::to_string(rows), swiglu, make_swiglu(3),
                      make_swiglu(rows));
  }
}

void add_embed(Workbench& bench) {
  Operation<EmbedParams> embed;
  embed.device = [&bench](EmbedParams& p) { cuda::embed(bench.context, p); };
  embed.reference = [&bench](EmbedParams& p) { bench.reference->embed(p); };
  embed.results = [](const EmbedParams& p) { return std::vector<Tensor>{p.out}; };
  embed.tolerance = 0;
  const auto make = [](int64_t rows, int64_t vocab) {
    return [rows, vocab](Tensors& t) {
      std::vector<int32_t> tokens;
      for (int64_t row = 0; row < rows; ++row) {
        tokens.push_back(static_cast<int32_t>(splitmix64(static_cast<uint64_t>(row)) %
                                              static_cast<uint64_t>(vocab)));
      }
      EmbedParams p;
      p.tokens = t.tokens(tokens);
      p.table = t.random(DType::bf16, {vocab, kHidden});
      p.out = t.output(DType::bf16, {rows, kHidden});
      return p;
    };
  };
  for (const int64_t rows : {1, 64, 8192}) {
    add<EmbedParams>(bench, "embed/rows:" + std::to_string(rows), embed, make(5, 100),
                     make(rows, kVocab));
  }
}

void add_heads(Workbench& bench) {
  Operation<PrepareHeadsParams> heads;
  heads.device = [&bench](PrepareHeadsParams& p) { cuda::prepare_heads(bench.context, p); };
  heads.reference = [&bench](PrepareHeadsParams& p) { bench.reference->prepare_heads(p); };
  heads.results = [](const PrepareHeadsParams& p) {
    std::vector<Tensor> results = {p.q, p.k, p.v, p.gate};
    if (p.lambda) results.push_back(p.lambda);
    return results;
  };
  const auto make = [](int64_t rows, int streams) {
    return [rows, streams](Tensors& t) {
      constexpr int kHeads = 32, kKvHeads = 8, kHeadDim = 128;
      constexpr int64_t kWidth = (kHeads + 2 * kKvHeads) * kHeadDim;
      std::vector<int64_t> positions;
      for (int64_t row = 0; row < rows; ++row) positions.push_back(20000 + row);
      PrepareHeadsParams p;
      p.fused = t.random(DType::bf16, {rows, kWidth + (streams == 2 ? kHeads + 1 : 0)});
      p.positions = t.integers(positions);
      p.rope.base = 1e6;
      p.heads = kHeads;
      p.kv_heads = kKvHeads;
      p.head_dim = kHeadDim;
      p.q = t.output(DType::bf16, {rows, streams, kHeads, kHeadDim});
      p.k = t.output(DType::bf16, {rows, kKvHeads, kHeadDim});
      p.v = t.output(DType::bf16, {rows, kKvHeads, kHeadDim});
      p.gate = t.output(DType::f32, {rows});
      if (streams == 1) return p;
      p.theta = t.random(DType::f32, {kHeads, kHeadDim / 2}, 3);
      p.lambda = t.output(DType::f32, {rows, kHeads});
      p.lambda_column = kWidth;
      p.gate_column = kWidth + kHeads;
      return p;
    };
  };
  for (const int streams : {1, 2}) {
    for (const int64_t rows : {1, 64, 256, 8192}) {
      add<PrepareHeadsParams>(
          bench,
          "prepare_heads/streams:" + std::to_string(streams) + "/rows:" + std::to_string(rows),
          heads, make(3, streams), make(rows, streams));
    }
  }
}

}  // namespace

void add_pointwise(Workbench& bench) {
  add_norms(bench);
  add_embed(bench);
  add_heads(bench);
}

}  // namespace kvg
