#include "model/decode_batch.h"

#include "base/error.h"
#include "model/pass.h"
#include "model/placer.h"
#include "model/sampling.h"
#include "model/session.h"

#include <algorithm>

namespace kvg {

namespace {

DecodePlan plan_batch(const Weights& weights, const Policy& policy,
                      std::span<SequenceState* const> states, int64_t max_new_tokens) {
  DecodePlan plan = policy.decode_plan(cache_geometry(weights.config));
  plan.streams = weights.config.streams();
  plan.sequences = std::ssize(states);
  for (const SequenceState* state : states) {
    plan.max_tokens = std::max(plan.max_tokens, state->length + max_new_tokens);
  }
  return plan;
}

std::vector<DecodeCache> find_caches(const Weights& weights, Ops& ops,
                                     std::span<SequenceState* const> states, int64_t max_tokens) {
  std::vector<DecodeCache> caches;
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const Tensor& eta = weights.layers[l].summary_eta;
    for (SequenceState* state : states) {
      caches.push_back(state->layers[l]->decode_cache(ops, max_tokens));
      if (eta) caches.back().eta = eta.as<double>();
    }
  }
  return caches;
}

}  // namespace

struct DecodeBatch::Impl {
  Impl(const Weights& weights_, const Policy& policy, Ops& ops_,
       std::vector<SequenceState*> states_, std::span<const int32_t> first_tokens,
       int64_t max_steps_, const DecodeOptions& options_)
      : weights(weights_),
        ops(ops_),
        states(std::move(states_)),
        options(options_),
        sequences(std::ssize(states)),
        max_steps(max_steps_),
        pass(weights, ops, query_frames(policy), sequences, sequences) {
    KVG_CHECK(sequences > 0 && max_steps > 0, "a batch needs sequences and steps");
    KVG_CHECK(std::ssize(first_tokens) == sequences, "a first token a sequence");
    const DecodePlan plan = plan_batch(weights, policy, states, max_steps);
    state = ops.prepare_decode(plan, find_caches(weights, ops, states, plan.max_tokens));
    const auto place = [this](void* base) {
      Placer placer(base);
      history = placer.tensor(ops, DType::i32, {sequences, max_steps});
      first_positions = placer.tensor(ops, DType::i64, {sequences});
      return placer.used();
    };
    memory = ops.allocate(place(nullptr));
    (void)place(memory->data());
    start(policy, first_tokens);
  }

  void start(const Policy& policy, std::span<const int32_t> first_tokens) {
    std::vector<int64_t> bank_positions;
    for (const SequenceState* sequence : states) {
      KVG_CHECK(sequence->length > 0, "decoding continues something");
      lengths.push_back(sequence->length);
      bank_positions.push_back(policy.bank_position(sequence->length));
    }
    known_positions = lengths;
    const auto fill = [this](const Tensor& to, const void* from) {
      if (to) ops.copy(to.data, from, to.bytes());
    };
    fill(pass.tokens(sequences), first_tokens.data());
    fill(pass.positions(sequences), lengths.data());
    fill(pass.bank_positions(sequences), bank_positions.data());
    fill(first_positions, lengths.data());
  }

  // One step: the same operations with the same parameters every time.
  void issue() {
    const DecodePlan& plan = state->plan();
    if (plan.bank != DecodeBank::none && options.evict) {
      ops.phase(Phase::bank, -1);
      ops.decode_evict(*state, pass.positions(sequences));
    }
    ops.phase(Phase::embed, -1);
    const Tensor hidden =
        pass.run(sequences, [this](int l, const HeadTensors& heads) { attend(l, heads); });
    last_logits = pass.logits(hidden);
    ops.phase(Phase::sample, -1);
    SampleParams sample;
    sample.logits = last_logits;
    sample.temperature = options.sampling.temperature;
    sample.top_p = options.sampling.top_p;
    sample.seed = options.sampling.seed;
    sample.positions = pass.positions(sequences);
    sample.tokens = pass.tokens(sequences);
    sample.advance = true;
    sample.bank_positions = pass.bank_positions(sequences);
    sample.bank_limit = plan.bank_limit;
    sample.history = history;
    sample.first_positions = first_positions;
    ops.sample(sample);
  }

  void attend(int layer, const HeadTensors& heads) {
    ops.phase(Phase::attention, layer);
    DecodeAttentionParams params;
    params.state = state.get();
    params.layer = layer;
    params.positions = pass.positions(sequences);
    params.q = heads.q;
    params.k = heads.k;
    params.v = heads.v;
    params.gate = heads.gate;
    params.lambda = heads.lambda;
    params.head_norm = weights.layers[static_cast<size_t>(layer)].head_norm;
    params.scale = pass.attention_scale();
    params.known_positions = known_positions;
    params.out = heads.out;
    ops.decode_attention(params);
  }

  const Weights& weights;
  Ops& ops;
  std::vector<SequenceState*> states;
  DecodeOptions options;
  int64_t sequences;
  int64_t max_steps;
  Pass pass;
  std::unique_ptr<DecodeState> state;
  std::unique_ptr<Buffer> memory;
  Tensor history, first_positions, last_logits;
  std::vector<int64_t> lengths;          // at the start
  std::vector<int64_t> known_positions;  // of the next step
  int64_t steps = 0;
  std::unique_ptr<Recording> recording;
};

DecodeBatch::DecodeBatch(const Weights& weights, const Policy& policy, Ops& ops,
                         std::vector<SequenceState*> states, std::span<const int32_t> tokens,
                         int64_t max_new_tokens, const DecodeOptions& options)
    : impl_(std::make_unique<Impl>(weights, policy, ops, std::move(states), tokens, max_new_tokens,
                                   options)) {}

DecodeBatch::~DecodeBatch() = default;

void DecodeBatch::record() {
  impl_->recording.reset();
  impl_->recording = impl_->ops.record([impl = impl_.get()] { impl->issue(); });
}

void DecodeBatch::step() {
  KVG_CHECK(impl_->steps < impl_->max_steps, "more steps than there is room for");
  if (impl_->options.recorded) {
    if (impl_->recording == nullptr) record();
    impl_->recording->replay();
  } else {
    impl_->issue();
  }
  ++impl_->steps;
  for (int64_t& position : impl_->known_positions) ++position;
}

int64_t DecodeBatch::steps() const { return impl_->steps; }
int64_t DecodeBatch::max_steps() const { return impl_->max_steps; }

std::vector<int32_t> DecodeBatch::newest() const {
  const Tensor tokens = impl_->pass.tokens(impl_->sequences);
  std::vector<int32_t> host(static_cast<size_t>(impl_->sequences));
  impl_->ops.copy(host.data(), tokens.data, tokens.bytes());
  require_tokens(host);
  return host;
}

void DecodeBatch::force(std::span<const int32_t> tokens) {
  KVG_CHECK(std::ssize(tokens) == impl_->sequences, "a token a sequence");
  impl_->ops.copy(impl_->pass.tokens(impl_->sequences).data, tokens.data(), tokens.size_bytes());
}

std::vector<std::vector<int32_t>> DecodeBatch::tokens() const {
  const Tensor& history = impl_->history;
  std::vector<int32_t> host(static_cast<size_t>(history.elements()));
  impl_->ops.copy(host.data(), history.data, history.bytes());
  std::vector<std::vector<int32_t>> result;
  for (int64_t s = 0; s < impl_->sequences; ++s) {
    const auto row = host.begin() + s * history.size(1);
    result.emplace_back(row, row + impl_->steps);
    require_tokens(result.back());
  }
  return result;
}

Tensor DecodeBatch::logits() const {
  KVG_CHECK(impl_->steps > 0, "no step, no logits");
  return impl_->last_logits;
}

void DecodeBatch::finish() {
  for (size_t s = 0; s < impl_->states.size(); ++s) {
    SequenceState& state = *impl_->states[s];
    state.length = impl_->lengths[s] + impl_->steps;
    for (const auto& layer : state.layers) layer->decoded(impl_->ops, state.length);
  }
}

}  // namespace kvg
