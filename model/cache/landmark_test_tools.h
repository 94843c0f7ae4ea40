#pragma once

#include "base/random.h"
#include "kernels/ops.h"
#include "model/attention_watch.h"
#include "model/cache/landmark_layer.h"
#include "model/cache/policy.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// What the tests of `landmark` share: tokens in double on the host, a layer fed with them in calls,
// and attention over what the layer makes readable.
namespace kvg::landmark_test {

struct Geometry {
  int heads = 2, kv_heads = 2, head_dim = 8, streams = 1;
  CacheGeometry cache(bool half_split = true) const {
    return {1, heads, kv_heads, head_dim, half_split};
  }
};

// Everything attention and the cache need of a run of tokens, [tokens, ...] in double.
struct Tokens {
  Geometry geometry;
  std::vector<double> k, v;    // [tokens, kv_heads, head_dim]
  std::vector<double> q;       // [tokens, streams, heads, head_dim]
  std::vector<double> gate;    // [tokens]
  std::vector<double> lambda;  // [tokens, heads], two streams only
  std::vector<double> eta;     // [kv_heads] or empty
  int64_t size() const { return static_cast<int64_t>(gate.size()); }
};

// Random tokens whose values share a common part, so that some are novel, some hits, some between.
inline Tokens random_tokens(uint64_t seed, int64_t n, Geometry g, double common = 1.0) {
  Random random(seed);
  Tokens tokens;
  tokens.geometry = g;
  const int64_t kv = int64_t{g.kv_heads} * g.head_dim;
  std::vector<double> k_common(static_cast<size_t>(kv)), v_common(static_cast<size_t>(kv));
  for (double& x : k_common) x = common * random.normal();
  for (double& x : v_common) x = common * random.normal();
  for (int64_t i = 0; i < n; ++i) {
    const double spread = 0.2 + random.uniform();
    for (size_t d = 0; d < k_common.size(); ++d) {
      tokens.k.push_back(k_common[d] + spread * random.normal());
      tokens.v.push_back(v_common[d] + spread * random.normal());
    }
    for (int64_t d = 0; d < int64_t{g.streams} * g.heads * g.head_dim; ++d) {
      tokens.q.push_back(random.normal());
    }
    for (int h = 0; h < g.heads; ++h) tokens.lambda.push_back(0.5 * random.uniform());
    tokens.gate.push_back(random.uniform() < 0.2 ? 0.03 : random.uniform());
  }
  return tokens;
}

// Values on a set of operations, in its activation type, and back.
class OnOps {
 public:
  OnOps(Ops& ops, const double* x, std::initializer_list<int64_t> shape)
      : tensor(nullptr, ops.activation(), ops.device(), shape) {
    memory_ = ops.allocate(std::max<size_t>(1, tensor.bytes()));
    tensor.data = memory_->data();
    Tensor host = tensor;
    host.data = const_cast<double*>(x);
    host.dtype = DType::f64;
    if (x != nullptr) ops.upload(host, tensor);
  }
  std::vector<double> values() const {
    std::vector<double> out(static_cast<size_t>(tensor.elements()));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = tensor.dtype == DType::f64 ? tensor.as<double>()[i]
                                          : static_cast<double>(tensor.as<float>()[i]);
    }
    return out;
  }
  Tensor tensor;

 private:
  std::unique_ptr<Buffer> memory_;
};

// Tokens [begin, begin + n) as one call; returns the attention outputs [n, heads, head_dim].
inline std::vector<double> feed(Ops& ops, LayerCache& layer, const Tokens& tokens, int64_t begin,
                                int64_t n, AttentionWatch* watch = nullptr) {
  const Geometry& g = tokens.geometry;
  const int64_t kv = int64_t{g.kv_heads} * g.head_dim;
  const int64_t width = int64_t{g.streams} * g.heads * g.head_dim;
  const OnOps k(ops, tokens.k.data() + begin * kv, {n, g.kv_heads, g.head_dim});
  const OnOps v(ops, tokens.v.data() + begin * kv, {n, g.kv_heads, g.head_dim});
  const OnOps gate(ops, tokens.gate.data() + begin, {n});
  const OnOps q(ops, tokens.q.data() + begin * width, {n, g.streams, g.heads, g.head_dim});
  const OnOps out(ops, nullptr, {n, g.heads, g.head_dim});
  AbsorbInput input{k.tensor, v.tensor, gate.tensor, begin, 0, nullptr};
  if (!tokens.eta.empty()) input.eta = tokens.eta.data();
  std::vector<AttentionBlock> blocks;
  layer.absorb(ops, input, &blocks);
  AttentionParams params;
  params.q = q.tensor;
  params.streams = g.streams;
  params.heads = g.heads;
  params.kv_heads = g.kv_heads;
  params.head_dim = g.head_dim;
  params.scale = 1 / std::sqrt(static_cast<double>(g.head_dim));
  params.blocks = blocks;
  params.out = out.tensor;
  std::unique_ptr<OnOps> lambda;
  if (g.streams == 2) {
    lambda = std::make_unique<OnOps>(ops, tokens.lambda.data() + begin * g.heads,
                                     std::initializer_list<int64_t>{n, g.heads});
    params.lambda = lambda->tensor;
  }
  ops.attention(params);
  if (watch != nullptr) watch_attention(params, watch);
  layer.commit(ops);
  return out.values();
}

// All tokens in calls of the given sizes (the last size repeats).
inline std::vector<double> feed_all(Ops& ops, LayerCache& layer, const Tokens& tokens,
                                    const std::vector<int64_t>& sizes, int64_t begin = 0,
                                    AttentionWatch* watch = nullptr) {
  std::vector<double> out;
  for (size_t i = 0; begin < tokens.size(); ++i) {
    const int64_t n = std::min(sizes[std::min(i, sizes.size() - 1)], tokens.size() - begin);
    const std::vector<double> part = feed(ops, layer, tokens, begin, n, watch);
    out.insert(out.end(), part.begin(), part.end());
    begin += n;
  }
  return out;
}

// One bank's slots, [slots, kv_heads, head_dim] in double.
inline std::pair<std::vector<double>, std::vector<double>> slots(Ops& ops, const SlotStore& store,
                                                                 const Geometry& g) {
  const OnOps k(ops, nullptr, {store.capacity, g.kv_heads, g.head_dim});
  const OnOps v(ops, nullptr, {store.capacity, g.kv_heads, g.head_dim});
  if (store.capacity > 0) ops.load({k.tensor, v.tensor, 0, store, 0});
  return {k.values(), v.values()};
}

inline std::unique_ptr<LandmarkLayer> make_layer(Ops& ops, const std::string& method,
                                                 const CacheGeometry& geometry) {
  const auto policy = make_policy(Method::parse(method));
  auto layer = policy->make_layer(ops, geometry, 0, 1 << 20);
  auto* landmark = dynamic_cast<LandmarkLayer*>(layer.release());
  KVG_CHECK(landmark != nullptr, "a landmark method");
  return std::unique_ptr<LandmarkLayer>(landmark);
}

}  // namespace kvg::landmark_test
