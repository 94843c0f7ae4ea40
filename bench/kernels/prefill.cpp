#include "kernels/cuda/attention/prefill.h"

#include "bench/kernels/attention_cases.h"
#include "bench/kernels/codecs.h"
#include "bench/kernels/harness.h"
#include "bench/peers/combine.h"
#include "bench/peers/peer.h"
#include "kernels/cuda/error.h"

#include <stdexcept>

namespace kvg {

namespace {

using MakeCase = std::function<AttentionCase(Tensors&)>;

Operation<AttentionCase> attention(Workbench& bench) {
  Operation<AttentionCase> operation;
  operation.device = [&bench](AttentionCase& c) {
    c.params.blocks = c.blocks;
    cuda::prefill_attention(bench.context, c.params);
  };
  operation.reference = [&bench](AttentionCase& c) {
    c.params.blocks = c.blocks;
    bench.reference->attention(c.params);
  };
  operation.results = [](const AttentionCase& c) { return std::vector<Tensor>{c.params.out}; };
  operation.recordable = false;  // its tables come from the host
  return operation;
}

// What cuDNN works on: for two streams, twice the query heads, those of a head side by side.
struct PeerTensors {
  Tensor q, lambda, k, v, both, out;
};

// Draws in the order of dense_causal().
PeerTensors peer_tensors(Tensors& t, const AttentionGeometry& g, int64_t rows) {
  PeerTensors p;
  p.q = t.random(DType::bf16, {rows, g.heads * g.streams, g.head_dim}, 3);
  if (g.streams == 2) p.lambda = t.random(DType::f32, {rows, g.heads}, 0.3, 0.4);
  p.k = t.random(DType::bf16, {rows, g.kv_heads, g.head_dim});
  p.v = t.random(DType::bf16, {rows, g.kv_heads, g.head_dim});
  p.both = t.output(DType::bf16, {rows, g.heads * g.streams, g.head_dim});
  p.out = g.streams == 2 ? t.output(DType::bf16, {rows, g.heads, g.head_dim}) : p.both;
  return p;
}

Work cudnn_work(Workbench& bench, const AttentionGeometry& g, int64_t rows, const PeerTensors& p) {
  PeerResult made = make_cudnn_attention({rows, g.heads * g.streams, g.kv_heads, g.head_dim});
  if (!made.peer) throw std::runtime_error(made.absent);
  const std::shared_ptr<PeerAttention> peer = std::move(made.peer);
  CombineLaunch combine;
  combine.first = p.both.data;
  combine.second = static_cast<const char*>(p.both.data) + 2 * g.head_dim;
  combine.lambda = static_cast<const float*>(p.lambda.data);
  combine.out = p.out.data;
  combine.rows = rows;
  combine.heads = g.heads;
  combine.head_dim = g.head_dim;
  combine.head_stride = 2 * g.head_dim;
  combine.row_stride = int64_t{2} * g.heads * g.head_dim;
  return {[&bench, peer, p, combine, streams = g.streams] {
            peer->run(p.q.data, p.k.data, p.v.data, p.both.data, bench.context.stream());
            if (streams == 2) KVG_CHECK_CUDA(launch(combine, bench.context.stream()));
          },
          false};
}

// [rows, streams, heads, head_dim] as [rows, heads, streams, head_dim].
Tensor heads_side_by_side(Workbench& bench, Tensors& t, const AttentionGeometry& g,
                          const Tensor& q) {
  const std::vector<double> values = read(bench.context, q);
  std::vector<int32_t> pairs(values.size() / 2);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const int64_t at = 2 * static_cast<int64_t>(i);
    const int64_t column = at % g.head_dim, vector = at / g.head_dim;
    const int64_t stream = vector % g.streams, head = vector / g.streams % g.heads;
    const int64_t row = vector / (g.streams * g.heads);
    const auto from =
        static_cast<size_t>(((row * g.streams + stream) * g.heads + head) * g.head_dim + column);
    const auto low = float_to_bf16(static_cast<float>(values[from]));
    const auto high = float_to_bf16(static_cast<float>(values[from + 1]));
    pairs[i] = static_cast<int32_t>(low | static_cast<uint32_t>(high) << 16);
  }
  return t.tokens(pairs);
}

// cuDNN on the same numbers as our kernel.
std::string verify_cudnn(Workbench& bench, const AttentionGeometry& g, const Codec& codec) {
  constexpr int64_t kRows = 320;
  const auto ours = make_device_tensors(bench.context, 5);
  const auto theirs = make_device_tensors(bench.context, 5);
  AttentionCase c = dense_causal(*ours, g, codec, kRows);
  c.params.blocks = c.blocks;
  cuda::prefill_attention(bench.context, c.params);
  PeerTensors p = peer_tensors(*theirs, g, kRows);
  p.q = heads_side_by_side(bench, *theirs, g, c.params.q);
  cudnn_work(bench, g, kRows, p).issue();
  const double error =
      relative_error(read(bench.context, p.out), read(bench.context, c.params.out));
  return error < 1e-2 ? "" : "its results differ from ours by " + std::to_string(error);
}

// Our own kernel for one stream, called for each, then the combination.
Work two_calls(Workbench& bench, const MakeCase& make, Tensors& t) {
  struct Calls {
    AttentionCase first, second;
    CombineLaunch combine;
  };
  auto calls = std::make_shared<Calls>();
  calls->first = make(t);
  calls->second = calls->first;
  AttentionParams& p = calls->first.params;
  const int64_t rows = p.out.size(0);
  const Tensor out = p.out;
  const auto* lambda = static_cast<const float*>(p.lambda.data);
  for (AttentionCase* c : {&calls->first, &calls->second}) {
    c->params.streams = 1;
    c->params.lambda = {};
    c->params.q = t.random(DType::bf16, {rows, 1, p.heads, p.head_dim}, 3);
    c->params.out = t.output(DType::bf16, {rows, p.heads, p.head_dim});
  }
  CombineLaunch& combine = calls->combine;
  combine.first = calls->first.params.out.data;
  combine.second = calls->second.params.out.data;
  combine.lambda = lambda;
  combine.out = out.data;
  combine.rows = rows;
  combine.heads = p.heads;
  combine.head_dim = p.head_dim;
  combine.head_stride = p.head_dim;
  combine.row_stride = int64_t{p.heads} * p.head_dim;
  return {[&bench, calls] {
            for (AttentionCase* c : {&calls->first, &calls->second}) {
              c->params.blocks = c->blocks;
              cuda::prefill_attention(bench.context, c->params);
            }
            KVG_CHECK_CUDA(launch(calls->combine, bench.context.stream()));
          },
          false};
}

void add_contenders(Workbench& bench, Subject& subject, const AttentionGeometry& g,
                    const Codec& codec, int64_t rows, const MakeCase& make) {
  Contender cudnn{"vs_peer", g.streams == 2 ? "cuDNN SDPA of 2H heads + combine" : "cuDNN SDPA",
                  [&bench, g, rows](Tensors& t) {
                    return cudnn_work(bench, g, rows, peer_tensors(t, g, rows));
                  },
                  [&bench, g, &codec] { return verify_cudnn(bench, g, codec); }};
  subject.contenders.push_back(std::move(cudnn));
  if (g.streams == 1) return;
  subject.contenders.push_back({"vs_two_calls",
                                "two calls of one stream + combine",
                                [&bench, make](Tensors& t) { return two_calls(bench, make, t); },
                                {}});
}

const Codec& bf16(int head_dim) {
  static const std::unique_ptr<Codec> kBf16[2] = {Codec::make({}, 64), Codec::make({}, 128)};
  return *kBf16[head_dim / 128];
}

std::string suffix(const AttentionGeometry& g) {
  return "/hd:" + std::to_string(g.head_dim) + "/streams:" + std::to_string(g.streams);
}

void add_dense(Workbench& bench, const AttentionGeometry& g) {
  const auto operation = attention(bench);
  const Codec& codec = bf16(g.head_dim);
  const AttentionGeometry small{4, 2, g.head_dim, g.streams};
  for (const int64_t rows : {2048, 4096, 8192, 16384, 32768}) {
    const MakeCase make = [g, &codec, rows](Tensors& t) { return dense_causal(t, g, codec, rows); };
    Subject& subject = add<AttentionCase>(
        bench, "prefill_dense" + suffix(g) + "/N:" + std::to_string(rows), operation,
        [small, &codec](Tensors& t) { return dense_causal(t, small, codec, 193); }, make);
    add_contenders(bench, subject, g, codec, rows, make);
  }
}

void add_blocks(Workbench& bench, const AttentionGeometry& g) {
  const auto operation = attention(bench);
  const Codec& codec = bf16(g.head_dim);
  const AttentionGeometry small{4, 2, g.head_dim, g.streams}, narrow{16, 8, g.head_dim, g.streams};
  for (const int64_t rows : {2048, 8192, 32768}) {
    add<AttentionCase>(
        bench, "prefill_blocks" + suffix(g) + "/N:" + std::to_string(rows), operation,
        [small, &codec](Tensors& t) { return block_plan(t, small, codec, 600); },
        [g, &codec, rows](Tensors& t) { return block_plan(t, g, codec, rows); });
  }
  // As the retention has it: its own block of 16, and 64.
  for (const int64_t block : {16, 64}) {
    for (const int64_t rows : {8192, 32768}) {
      add<AttentionCase>(
          bench,
          "prefill_blocks" + suffix(g) + "/block:" + std::to_string(block) +
              "/N:" + std::to_string(rows),
          operation,
          [narrow, &codec, block](Tensors& t) {
            return landmark_plan_case(t, narrow, codec, 410, block);
          },
          [g, &codec, rows, block](Tensors& t) {
            return landmark_plan_case(t, g, codec, rows, block);
          });
    }
  }
}

}  // namespace

void add_prefill(Workbench& bench) {
  for (const int head_dim : {128, 64}) {
    for (const int streams : {2, 1}) {
      const AttentionGeometry g{32, 8, head_dim, streams};
      add_dense(bench, g);
      if (head_dim == 128) add_blocks(bench, g);
    }
  }
  const AttentionGeometry small{4, 2, 128, 2};
  for (const NamedCodec& codec : bench_codecs()) {
    if (codec.name == "bf16") continue;
    const Codec& used = *codec.codec;
    add<AttentionCase>(
        bench, "prefill_blocks/" + codec.name + "/hd:128/streams:2/N:8192", attention(bench),
        [small, &used](Tensors& t) { return block_plan(t, small, used, 600); },
        [&used](Tensors& t) { return block_plan(t, {}, used, 8192); });
  }
}

}  // namespace kvg
