#include "kernels/decode.h"

#include "bench/kernels/banks.h"
#include "bench/kernels/codecs.h"
#include "bench/kernels/harness.h"
#include "kernels/cuda/decode_state.h"

#include <cmath>

namespace kvg {

namespace {

constexpr int64_t kFar = 20000;  // position of a sequence whose window is long since full

// One layer's attention of a batch, every sequence with a cache of its own.
struct DecodeScene {
  DecodePlan plan;
  std::vector<DecodeCache> caches;
  std::shared_ptr<DecodeState> state;  // of either side, made on first use
  DecodeAttentionParams params;
  std::vector<int64_t> positions;
};

DecodeScene scene(Tensors& t, DecodePlan plan, std::vector<DecodeCache> caches, int64_t position) {
  DecodeScene s;
  const int64_t n = plan.sequences;
  s.positions.assign(static_cast<size_t>(n), position);
  DecodeAttentionParams& p = s.params;
  p.positions = t.integers(s.positions);
  p.q = t.random(DType::bf16, {n, plan.streams, plan.heads, plan.head_dim}, 3);
  p.k = t.random(DType::bf16, {n, plan.kv_heads, plan.head_dim});
  p.v = t.random(DType::bf16, {n, plan.kv_heads, plan.head_dim});
  p.gate = t.random(DType::f32, {n}, 0.4, 0.5);
  p.lambda = t.random(DType::f32, {n, plan.heads}, 0.3, 0.4);
  p.scale = 1 / std::sqrt(static_cast<double>(plan.head_dim));
  p.out = t.output(DType::bf16, {n, plan.heads, plan.head_dim});
  s.plan = std::move(plan);
  s.caches = std::move(caches);
  return s;
}

using MakeScene = std::function<DecodeScene(Tensors&)>;

MakeScene full_scene(const Codec& codec, int64_t sequences, int64_t position) {
  return [=, &codec](Tensors& t) {
    std::vector<DecodeCache> caches;
    for (int64_t s = 0; s < sequences; ++s) caches.push_back(full_cache(t, codec, position));
    return scene(t, full_plan(sequences, 1, position + 1), std::move(caches), position);
  };
}

MakeScene landmark_scene(const Codec& codec, int64_t sequences) {
  return [=, &codec](Tensors& t) {
    std::vector<DecodeCache> caches;
    for (int64_t s = 0; s < sequences; ++s) caches.push_back(landmark_cache(t, codec));
    return scene(t, landmark_plan(sequences, 1, 2 * kFar), std::move(caches), kFar);
  };
}

Operation<DecodeScene> attention(Workbench& bench) {
  Operation<DecodeScene> operation;
  operation.device = [&bench](DecodeScene& s) {
    if (!s.state) {
      s.state = std::make_shared<cuda::CudaDecodeState>(bench.context, s.plan, s.caches);
    }
    s.params.state = s.state.get();
    s.params.known_positions = s.positions;
    cuda::decode_attention(bench.context, s.params);
  };
  operation.reference = [&bench](DecodeScene& s) {
    s.state = bench.reference->prepare_decode(s.plan, s.caches);
    s.params.state = s.state.get();
    s.params.known_positions = s.positions;
    bench.reference->decode_attention(s.params);
  };
  operation.results = [](const DecodeScene& s) { return std::vector<Tensor>{s.params.out}; };
  return operation;
}

}  // namespace

void add_decode(Workbench& bench) {
  const auto operation = attention(bench);
  for (const NamedCodec& codec : bench_codecs()) {
    const bool plain = codec.name == "bf16";
    const Codec& used = *codec.codec;
    for (const int64_t batch : {1, 16, 64, 256}) {
      const std::string suffix = "/" + codec.name + "/batch:" + std::to_string(batch);
      for (const int64_t context : {2048, 8192, 32768}) {
        if (!plain && context == 2048) continue;
        if (batch * context > 64 * 8192) continue;
        add<DecodeScene>(bench, "decode_full" + suffix + "/context:" + std::to_string(context),
                         operation, full_scene(used, 2, 150), full_scene(used, batch, context - 1));
      }
      // Many caches have a kernel of their own, which is to be the one that is verified.
      add<DecodeScene>(bench, "decode_landmark" + suffix, operation,
                       landmark_scene(used, batch < 16 ? 2 : 20), landmark_scene(used, batch));
    }
  }
}

}  // namespace kvg
