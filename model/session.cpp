#include "model/session.h"

#include "base/memory.h"
#include "model/decode_batch.h"
#include "model/forward.h"
#include "model/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kvg {

struct Session::Engine {
  Engine(const Weights& weights_, Ops& ops_, Method method_, SessionOptions options_)
      : weights(weights_),
        ops(ops_),
        method(std::move(method_)),
        options(options_),
        policy(make_policy(method)),
        geometry(cache_geometry(weights_.config)) {
    if (options.chunk < 1 || options.max_tokens < 1) {
      throw Error("session", options.chunk < 1 ? "chunk" : "context",
                  std::to_string(options.chunk < 1 ? options.chunk : options.max_tokens),
                  "1 or more");
    }
    if (const int64_t own = weights.config.sliding_window;
        own > 0 && method.retention.name == "full" && options.max_tokens > own) {
      throw Error("method full", "context", std::to_string(options.max_tokens),
                  "at most " + std::to_string(own) +
                      ", the checkpoint's own sliding window (use window(window=" +
                      std::to_string(own) + "))");
    }
    const int64_t cache =
        policy->bytes_per_layer(geometry, options.max_tokens).total() * geometry.layers;
    require_memory(
        "cache of " + std::to_string(options.max_tokens) + " tokens, method " + method.canonical(),
        static_cast<uint64_t>(cache), ops.available_memory());
    forward = std::make_unique<Forward>(weights, *policy, ops,
                                        std::min(options.chunk, options.max_tokens));
  }

  SequenceState start() {
    SequenceState state;
    for (int64_t l = 0; l < geometry.layers; ++l) {
      state.layers.push_back(
          policy->make_layer(ops, geometry, static_cast<int>(l), options.max_tokens));
    }
    return state;
  }

  void check_context(int64_t tokens) const {
    if (tokens > options.max_tokens) {
      throw Error("context", "tokens", std::to_string(tokens),
                  "at most " + std::to_string(options.max_tokens) + " (raise --context)");
    }
  }

  // Runs at most `chunk` tokens of one sequence.
  Tensor run(SequenceState& state, std::span<const int32_t> tokens, AttentionWatch* watch) {
    check_context(state.length + std::ssize(tokens));
    const std::array<SequenceInput, 1> inputs = {{{&state, tokens, watch}}};
    return forward->run(inputs);
  }

  std::vector<double> logits_of(const Tensor& hidden, int64_t row) {
    return read(forward->logits(hidden, row, 1));
  }

  // One row of logits, on the host.
  std::vector<double> read(const Tensor& logits) {
    const auto n = static_cast<size_t>(logits.elements());
    if (logits.dtype == DType::f64) {
      std::vector<double> values(n);
      ops.copy(values.data(), logits.data, logits.bytes());
      return values;
    }
    KVG_CHECK(logits.dtype == DType::f32, "logits are f32 or f64");
    std::vector<float> values(n);
    ops.copy(values.data(), logits.data, logits.bytes());
    return {values.begin(), values.end()};
  }

  // Decoding of sequences that each have a token to take in. A batch has room for a limited number
  // of steps, so that an early end does not find memory for the latest possible one.
  std::unique_ptr<DecodeBatch> decode(std::vector<SequenceState*> states,
                                      std::span<const int32_t> tokens, int64_t wanted,
                                      const GenerateOptions& generate) {
    constexpr int64_t kSteps = 1024;
    int64_t steps = std::min(wanted, kSteps);
    for (const SequenceState* state : states) {
      check_context(state->length + 1);
      steps = std::min(steps, options.max_tokens - state->length);
    }
    DecodeOptions decode;
    decode.sampling = generate.sampling;
    decode.recorded = generate.recorded;
    return std::make_unique<DecodeBatch>(weights, *policy, ops, std::move(states), tokens, steps,
                                         decode);
  }

  const Weights& weights;
  Ops& ops;
  Method method;
  SessionOptions options;
  std::unique_ptr<Policy> policy;
  CacheGeometry geometry;
  std::unique_ptr<Forward> forward;
};

namespace {

double negative_log_likelihood(const std::vector<double>& logits, int32_t target) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum) - logits[static_cast<size_t>(target)];
}

bool is_eos(const ModelConfig& config, int32_t token) {
  return std::find(config.eos.begin(), config.eos.end(), token) != config.eos.end();
}

int32_t choose(const std::vector<double>& logits, const Sampling& sampling, int64_t position) {
  const std::vector<float> narrow(logits.begin(), logits.end());
  return sample_token(narrow, sampling, position);
}

class ModelSequence : public Sequence {
 public:
  ModelSequence(Session::Engine& engine, SequenceState state)
      : engine_(engine), state_(std::move(state)) {}

  void append(std::span<const int32_t> tokens) override {
    while (!tokens.empty()) {
      const std::span<const int32_t> chunk = take(tokens);
      const Tensor hidden = engine_.run(state_, chunk, watch_);
      if (tokens.empty()) logits_ = engine_.logits_of(hidden, std::ssize(chunk) - 1);
    }
  }

  std::vector<double> score(std::span<const int32_t> tokens) override {
    KVG_CHECK(!logits_.empty(), "score() needs a token to predict from");
    std::vector<double> result;
    while (!tokens.empty()) {
      const std::span<const int32_t> chunk = take(tokens);
      result.push_back(negative_log_likelihood(logits_, chunk[0]));
      const Tensor hidden = engine_.run(state_, chunk, watch_);
      const std::vector<double> rest = engine_.forward->nll(hidden, 0, chunk.subspan(1));
      result.insert(result.end(), rest.begin(), rest.end());
      logits_ = engine_.logits_of(hidden, std::ssize(chunk) - 1);
    }
    return result;
  }

  std::vector<double> score_decoding(std::span<const int32_t> tokens) override {
    KVG_CHECK(!logits_.empty(), "score_decoding() needs a token to predict from");
    KVG_CHECK(watch_ == nullptr, "decode steps are not watched");
    for (const int32_t token : tokens) {
      KVG_CHECK(token >= 0 && token < engine_.weights.config.vocab, "token outside the vocabulary");
    }
    std::vector<double> result;
    std::unique_ptr<DecodeBatch> batch;
    while (result.size() < tokens.size()) {
      const std::span<const int32_t> next = tokens.subspan(result.size(), 1);
      result.push_back(negative_log_likelihood(logits_, next[0]));
      if (batch == nullptr || batch->steps() == batch->max_steps()) {
        batch.reset();  // its buffers make room for the next one's
        const int64_t wanted = std::ssize(tokens) - std::ssize(result) + 1;
        batch = engine_.decode({&state_}, next, wanted, {});
      } else {
        batch->force(next);
      }
      batch->step();
      batch->finish();
      logits_ = engine_.read(batch->logits());
    }
    return result;
  }

  std::vector<int32_t> generate(const GenerateOptions& options) override {
    KVG_CHECK(!logits_.empty(), "generate() needs a token to continue from");
    KVG_CHECK(watch_ == nullptr, "decode steps are not watched");
    std::vector<int32_t> tokens;
    std::unique_ptr<DecodeBatch> batch;
    int64_t room = 0;
    while (std::ssize(tokens) < options.max_tokens) {
      const int32_t token =
          batch ? batch->newest()[0] : choose(logits_, options.sampling, state_.length);
      if (options.stop_at_eos && is_eos(engine_.weights.config, token)) break;
      tokens.push_back(token);
      if (options.stop && options.stop(tokens)) break;
      const int64_t wanted = options.max_tokens - std::ssize(tokens);
      if (wanted == 0) break;
      if (room == 0) {
        batch.reset();  // its buffers make room for the next one's
        batch = engine_.decode({&state_}, {&token, 1}, wanted, options);
        room = batch->max_steps();
      }
      logits_.clear();  // they are those of the batch now
      batch->step();
      batch->finish();
      --room;
    }
    if (batch) logits_ = engine_.read(batch->logits());
    return tokens;
  }

  void keep_positions() override {
    KVG_CHECK(state_.length == 0, "positions are kept from the first token on");
    KVG_CHECK(engine_.ops.device() == Device::cpu, "attention is watched on the host");
    for (const auto& layer : state_.layers) layer->keep_positions();
    keeps_positions_ = true;
  }

  void watch(AttentionWatch* watch) override {
    KVG_CHECK(watch == nullptr || keeps_positions_, "watch() needs keep_positions()");
    watch_ = watch;
  }

  std::vector<float> logits() const override { return {logits_.begin(), logits_.end()}; }

  std::unique_ptr<Sequence> clone() const override {
    SequenceState copy;
    copy.length = state_.length;
    for (const auto& layer : state_.layers) copy.layers.push_back(layer->clone(engine_.ops));
    auto sequence = std::make_unique<ModelSequence>(engine_, std::move(copy));
    sequence->logits_ = logits_;
    sequence->keeps_positions_ = keeps_positions_;
    return sequence;
  }

  int64_t length() const override { return state_.length; }
  CacheBytes bytes() const override { return state_.bytes(); }

 private:
  std::span<const int32_t> take(std::span<const int32_t>& tokens) const {
    const size_t n = std::min(tokens.size(), static_cast<size_t>(engine_.forward->max_rows()));
    const std::span<const int32_t> chunk = tokens.first(n);
    tokens = tokens.subspan(n);
    return chunk;
  }

  Session::Engine& engine_;
  SequenceState state_;
  std::vector<double> logits_;  // after the last token
  bool keeps_positions_ = false;
  AttentionWatch* watch_ = nullptr;
};

// One member of a batch that is being generated.
struct BatchMember {
  SequenceState state;
  std::span<const int32_t> prompt;
  std::vector<int32_t> output;
  bool done = false;

  // Takes the next token in, or ends at it.
  void accept(int32_t token, const ModelConfig& config, const GenerateOptions& options) {
    done = options.stop_at_eos && is_eos(config, token);
    if (done) return;
    output.push_back(token);
    done = std::ssize(output) >= options.max_tokens || (options.stop && options.stop(output));
  }
};

// Prompts in pieces, several to a call, until each member has its first token.
void prefill(Session::Engine& engine, std::span<BatchMember> members,
             const GenerateOptions& options) {
  std::vector<SequenceInput> inputs;
  std::vector<BatchMember*> fed;
  while (true) {
    inputs.clear();
    fed.clear();
    int64_t room = engine.forward->max_rows();
    for (BatchMember& member : members) {
      if (member.prompt.empty() || room == 0) continue;
      const auto next =
          member.prompt.first(std::min(member.prompt.size(), static_cast<size_t>(room)));
      member.prompt = member.prompt.subspan(next.size());
      room -= std::ssize(next);
      inputs.push_back({&member.state, next});
      fed.push_back(&member);
    }
    if (inputs.empty()) return;
    const Tensor hidden = engine.forward->run(inputs);
    int64_t row = 0;
    for (size_t i = 0; i < fed.size(); ++i) {
      row += std::ssize(inputs[i].tokens);
      BatchMember& member = *fed[i];
      if (!member.prompt.empty()) continue;
      const int32_t token =
          choose(engine.logits_of(hidden, row - 1), options.sampling, member.state.length);
      member.accept(token, engine.weights.config, options);
    }
  }
}

// One token a step for all members; those that are done step along until half of the batch is.
void decode(Session::Engine& engine, std::span<BatchMember> members,
            const GenerateOptions& options) {
  while (true) {
    std::vector<BatchMember*> active;
    std::vector<SequenceState*> states;
    std::vector<int32_t> tokens;
    for (BatchMember& member : members) {
      if (member.done) continue;
      active.push_back(&member);
      states.push_back(&member.state);
      tokens.push_back(member.output.back());
    }
    if (active.empty()) return;
    const int64_t wanted = options.max_tokens - std::ssize(active.front()->output);
    const auto batch = engine.decode(std::move(states), tokens, wanted, options);
    for (size_t done = 0; 2 * done < active.size() && batch->steps() < batch->max_steps();) {
      batch->step();
      tokens = batch->newest();
      done = 0;
      for (size_t i = 0; i < active.size(); ++i) {
        if (!active[i]->done) active[i]->accept(tokens[i], engine.weights.config, options);
        done += active[i]->done ? 1 : 0;
      }
    }
    batch->finish();
  }
}

}  // namespace

Session::Session(const Weights& weights, Ops& ops, Method method, SessionOptions options)
    : engine_(std::make_unique<Engine>(weights, ops, std::move(method), options)) {}

Session::~Session() = default;

std::unique_ptr<Sequence> Session::start() const {
  return std::make_unique<ModelSequence>(*engine_, engine_->start());
}

std::string Session::method() const { return engine_->method.canonical(); }

CacheBytes Session::bytes_at(int64_t tokens) const {
  return all_layers(engine_->policy->bytes_per_layer(engine_->geometry, tokens),
                    engine_->geometry.layers);
}

std::vector<std::vector<int32_t>> Session::generate_batch(
    const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options) const {
  std::vector<BatchMember> members(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    KVG_CHECK(!prompts[i].empty(), "a prompt needs a token");
    engine_->check_context(std::ssize(prompts[i]) + options.max_tokens);
    members[i].state = engine_->start();
    members[i].prompt = prompts[i];
  }
  prefill(*engine_, members, options);
  decode(*engine_, members, options);
  std::vector<std::vector<int32_t>> outputs;
  for (BatchMember& member : members) outputs.push_back(std::move(member.output));
  return outputs;
}

CacheGeometry cache_geometry(const ModelConfig& config) {
  return {config.layers, config.heads, config.kv_heads, config.head_dim, config.rope.half_split};
}

}  // namespace kvg
