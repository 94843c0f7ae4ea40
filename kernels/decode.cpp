#include "kernels/decode.h"

#include "base/error.h"
#include "base/random.h"
#include "kernels/sample.h"

#include <cstring>

namespace kvg {

namespace {

// Decoded tokens on their way from the window to a bank.
struct Moving {
  Moving(Ops& ops, const DecodePlan& plan, int64_t tokens)
      : k(nullptr, ops.activation(), ops.device(), {tokens, plan.kv_heads, plan.head_dim}), v(k) {
    memory = ops.allocate(2 * k.bytes());
    k.data = memory->data();
    v.data = static_cast<uint8_t*>(memory->data()) + k.bytes();
  }
  std::unique_ptr<Buffer> memory;
  Tensor k, v;
};

int64_t position_of(const Tensor& positions, int64_t sequence) {
  return positions.as<int64_t>()[sequence];
}

void evict_to_landmark(Ops& ops, const DecodePlan& plan, const DecodeCache& cache, int32_t layer,
                       int64_t begin, const Moving& moving) {
  const int64_t tokens = moving.k.size(0);
  std::vector<float> gates(static_cast<size_t>(tokens));
  for (int64_t i = 0; i < tokens; ++i) {
    gates[static_cast<size_t>(i)] = cache.gates[(begin + i) % plan.window];
  }
  LandmarkStep step;
  step.end = tokens;
  step.single = plan.single;
  LandmarkParams params;
  params.k = moving.k;
  params.v = moving.v;
  params.gate = Tensor(gates.data(), DType::f32, Device::cpu, {tokens});
  params.first_position = begin;
  params.layer = layer;
  params.eta = cache.eta;
  params.slow_dims = plan.slow_dims;
  params.bank = cache.landmark;
  params.rules = plan.rules;
  params.steps = {&step, 1};
  ops.landmark(params);
}

void evict_to_random(Ops& ops, const DecodePlan& plan, const DecodeCache& cache, int32_t layer,
                     int64_t begin, const Moving& moving) {
  for (int64_t i = 0; i < moving.k.size(0); ++i) {
    const int64_t slot = random_bank_slot(plan.seed, layer, begin + i, cache.random.capacity);
    if (slot >= cache.random.capacity) continue;
    if (cache.random.k_codec->spec() == cache.recent.k_codec->spec()) {
      // As stored: decoding and encoding again would lose once more.
      ops.copy_slots({cache.recent, cache.random, plan.kv_heads,
                      plan.recent_slot(begin + i, cache.recent.capacity), slot, 1});
      continue;
    }
    ops.store({moving.k.rows(i, 1), moving.v.rows(i, 1), layer, cache.random, slot});
  }
}

// The token of one sequence into its cache; the gate beside it.
void store_token(Ops& ops, const DecodeAttentionParams& p, const DecodeCache& cache, int64_t s,
                 int64_t position) {
  const DecodePlan& plan = p.state->plan();
  StoreParams store{p.k.rows(s, 1), p.v.rows(s, 1), p.layer, {}, 0};
  if (position < plan.sinks) {
    store.store = cache.sinks;
    store.first_slot = position;
  } else {
    store.store = cache.recent;
    store.first_slot = plan.recent_slot(position, cache.recent.capacity);
  }
  ops.store(store);
  if (plan.bank != DecodeBank::landmark) return;
  ops.upload(p.gate.rows(s, 1),
             Tensor(cache.gates + position % plan.window, DType::f32, ops.device(), {1}));
}

AttentionBlock readable(const DecodePlan& plan, const DecodeCache& cache, int64_t s,
                        int64_t position) {
  AttentionBlock block{s, 1, position, {}};
  if (plan.sinks > 0) {
    AttentionGroup group;
    group.store = cache.sinks;
    group.count = std::min(plan.sinks, position + 1);
    group.first_position = 0;
    group.query_frame = plan.frames() - 1;
    block.groups.push_back(group);
  }
  const int64_t evicted = plan.evict_end(position);
  if (plan.bank == DecodeBank::landmark && evicted > 0) {
    AttentionGroup exact;
    exact.store = cache.landmark.exact;
    exact.count = exact.store.capacity;
    exact.valid = cache.landmark.exact_valid;
    if (exact.count > 0) block.groups.push_back(exact);
    AttentionGroup summary;
    summary.store = cache.landmark.summary;
    summary.count = summary.store.capacity;
    summary.valid = cache.landmark.summary_valid;
    summary.log_weight = cache.landmark.log_weight;
    if (summary.count > 0) block.groups.push_back(summary);
  }
  if (plan.bank == DecodeBank::random && evicted > 0 && cache.random.capacity > 0) {
    AttentionGroup group;
    group.store = cache.random;
    group.count = std::min(evicted, cache.random.capacity);
    block.groups.push_back(group);
  }
  if (position >= plan.sinks) {
    AttentionGroup group;
    group.store = cache.recent;
    group.first_position = plan.first_recent(position);
    group.first_slot = plan.recent_slot(group.first_position, cache.recent.capacity);
    group.count = position + 1 - group.first_position;
    block.groups.push_back(group);
  }
  return block;
}

}  // namespace

int64_t random_bank_slot(uint64_t seed, int32_t layer, int64_t position, int64_t capacity) {
  if (position < capacity) return position;
  Random random(mix_seed({seed, name_seed("random policy"), static_cast<uint64_t>(layer),
                          static_cast<uint64_t>(position)}));
  return static_cast<int64_t>(random.below(static_cast<uint64_t>(position) + 1));
}

DecodeState::DecodeState(DecodePlan plan, std::vector<DecodeCache> caches)
    : plan_(std::move(plan)), caches_(std::move(caches)) {
  KVG_CHECK(std::ssize(caches_) == plan_.layers * plan_.sequences, "a cache a layer and sequence");
  KVG_CHECK(plan_.window >= 0 && plan_.block >= 1, "decode: window and block");
  KVG_CHECK(plan_.window == 0 || plan_.block <= plan_.window, "decode: block within the window");
  for (const DecodeCache& cache : caches_) {
    const int64_t needed = plan_.window > 0 ? plan_.window : plan_.max_tokens - plan_.sinks;
    KVG_CHECK(cache.recent.capacity >= needed, "decode: room for the recent tokens");
    KVG_CHECK(plan_.window == 0 || cache.recent.capacity == plan_.window, "decode: ring");
    KVG_CHECK(cache.sinks.capacity >= plan_.sinks, "decode: room for the sinks");
  }
}

void composed_decode_evict(Ops& ops, DecodeState& state, const Tensor& positions) {
  const DecodePlan& plan = state.plan();
  if (plan.bank == DecodeBank::none) return;
  for (int64_t s = 0; s < plan.sequences; ++s) {
    const int64_t position = position_of(positions, s);
    const int64_t begin = plan.evict_begin(position);
    const int64_t end = plan.evict_end(position);
    if (begin >= end) continue;
    const Moving moving(ops, plan, end - begin);
    for (int64_t l = 0; l < plan.layers; ++l) {
      const DecodeCache& cache = state.cache(l, s);
      const auto layer = static_cast<int32_t>(l);
      ops.load({moving.k, moving.v, layer, cache.recent,
                plan.recent_slot(begin, cache.recent.capacity)});
      if (plan.bank == DecodeBank::landmark) {
        evict_to_landmark(ops, plan, cache, layer, begin, moving);
      } else {
        evict_to_random(ops, plan, cache, layer, begin, moving);
      }
    }
  }
}

void composed_decode_attention(Ops& ops, const DecodeAttentionParams& p) {
  const DecodePlan& plan = p.state->plan();
  std::vector<AttentionBlock> blocks;
  for (int64_t s = 0; s < plan.sequences; ++s) {
    const int64_t position = position_of(p.positions, s);
    KVG_CHECK(position < plan.max_tokens, "decode: the sequence outgrows its cache");
    const DecodeCache& cache = p.state->cache(p.layer, s);
    store_token(ops, p, cache, s, position);
    blocks.push_back(readable(plan, cache, s, position));
  }
  AttentionParams attention;
  attention.q = p.q;
  attention.frames = plan.frames();
  attention.streams = plan.streams;
  attention.heads = plan.heads;
  attention.kv_heads = plan.kv_heads;
  attention.head_dim = plan.head_dim;
  attention.layer = p.layer;
  attention.scale = p.scale;
  attention.lambda = p.lambda;
  attention.head_norm = p.head_norm;
  attention.head_norm_eps = p.head_norm_eps;
  attention.blocks = blocks;
  attention.out = p.out;
  ops.attention(attention);
}

void host_sample(const SampleParams& p) {
  const int64_t rows = p.logits.size(0);
  const auto vocab = static_cast<size_t>(p.logits.size(1));
  int64_t* positions = p.positions.as<int64_t>();
  std::vector<float> logits(vocab);
  for (int64_t r = 0; r < rows; ++r) {
    if (p.logits.dtype == DType::f64) {
      const double* from = p.logits.row<double>(r);
      std::transform(from, from + vocab, logits.begin(),
                     [](double x) { return static_cast<float>(x); });
    } else {
      std::copy_n(p.logits.row<float>(r), vocab, logits.begin());
    }
    const int32_t token = choose_token(logits, p.temperature, p.top_p, p.seed, positions[r] + 1);
    p.tokens.as<int32_t>()[r] = token;
    if (p.history) {
      const int64_t column = positions[r] - p.first_positions.as<int64_t>()[r];
      if (column >= 0 && column < p.history.size(1)) p.history.row<int32_t>(r)[column] = token;
    }
    if (!p.advance) continue;
    positions[r] += 1;
    if (p.bank_positions) {
      p.bank_positions.as<int64_t>()[r] = std::min(positions[r], p.bank_limit);
    }
  }
}

}  // namespace kvg
