#include "bench/latency/cell_timer.h"

#include "base/random.h"
#include "bench/latency/bench_common.h"
#include "bench/latency/ceilings.h"
#include "bench/latency/forwarding_ops.h"
#include "model/session.h"

#include <algorithm>
#include <cmath>

namespace kvg {

namespace {

// Passes shorter than this are repeated within one observation, up to so many times.
constexpr double kEnoughSeconds = 0.15;
constexpr size_t kMostPasses = 5;
// Steps of one comparison of a step with timing and one without.
constexpr int64_t kCalmSteps = 16;
// Steps without timing are made in so many stretches, at most, that take turns with traced ones: a
// card that comes to its power limit lowers its clocks within a second, which must meet both alike.
constexpr int64_t kTurns = 4;

// Takes the cost of timing off the intervals of a ledger.
void correct(PhaseLedger* ledger, double interval_seconds) {
  for (PhaseWork& work : *ledger) {
    work.seconds =
        std::max(0.0, work.seconds - interval_seconds * static_cast<double>(work.intervals));
  }
}

// Phase by phase the median time; work is the same in all.
PhaseLedger median_ledger(const std::vector<PhaseLedger>& ledgers) {
  PhaseLedger result = ledgers.front();
  for (size_t p = 0; p < kPhases; ++p) {
    std::vector<double> seconds;
    for (const PhaseLedger& ledger : ledgers) seconds.push_back(ledger[p].seconds);
    result[p].seconds = median(std::move(seconds));
  }
  return result;
}

}  // namespace

CellTimer::CellTimer(const Weights& weights, Ops& ops, const Method& method, TimingOptions options)
    : weights_(weights),
      ops_(ops),
      method_(method),
      options_(options),
      policy_(make_policy(method)),
      geometry_(cache_geometry(weights.config)),
      plan_(policy_->decode_plan(geometry_)) {
  options_.steps = (options_.steps + round() - 1) / round() * round();
  options_.stride = std::clamp<int>(options_.stride, 1, static_cast<int>(weights.config.layers));
}

int64_t CellTimer::round() const { return plan_.bank == DecodeBank::none ? 1 : plan_.block; }

// The bank step belongs to no layer, so offset 0 times it: there, over whole rounds.
int64_t CellTimer::steps_at(int offset) const {
  return offset > 0 ? options_.traced_steps
                    : (options_.traced_steps + round() - 1) / round() * round();
}

int64_t CellTimer::timed_runs() const {
  if (options_.stride == 1) return 1;
  // Every layer by itself; what comes before the first one joins it, what comes after the last one
  // joins that if both are timed together.
  const bool joined = (geometry_.layers - 1) % options_.stride == 0;
  return geometry_.layers + (joined ? 0 : 1);
}

int64_t CellTimer::calm_steps() const {
  return round() > kCalmSteps ? kCalmSteps : (kCalmSteps + round() - 1) / round() * round();
}

int64_t CellTimer::longest_calm() const {
  return round() > kCalmSteps ? 2 * calm_steps() + 1 : calm_steps();
}

int64_t CellTimer::turns() const { return std::min(kTurns, options_.steps / round()); }

int64_t CellTimer::visits() const {
  return (turns() + options_.stride - 1) / options_.stride * options_.stride;
}

CacheBytes CellTimer::cache_bytes(int64_t tokens) const {
  return all_layers(policy_->bytes_per_layer(geometry_, tokens), geometry_.layers);
}

int64_t CellTimer::longest(int64_t context) const {
  int64_t steps = 1 + turns() * options_.warm_steps + options_.steps;
  if (round() > kCalmSteps) steps += turns() * longest_calm();
  for (int64_t visit = 0; visit < visits(); ++visit) {
    steps += 1 + longest_calm() + steps_at(offset_of(visit));
  }
  if (plan_.bank == DecodeBank::landmark) steps += options_.warm_steps + options_.steps;
  return context + steps + 1;
}

std::vector<SequenceState> CellTimer::start(int64_t batch, int64_t context) const {
  std::vector<SequenceState> states(static_cast<size_t>(batch));
  for (SequenceState& state : states) {
    for (int64_t l = 0; l < geometry_.layers; ++l) {
      state.layers.push_back(
          policy_->make_layer(ops_, geometry_, static_cast<int>(l), longest(context)));
    }
  }
  return states;
}

std::vector<std::vector<int32_t>> CellTimer::prompts(int64_t batch, int64_t context) const {
  const auto vocab = static_cast<uint64_t>(weights_.config.vocab);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(batch));
  for (size_t i = 0; i < prompts.size(); ++i) {
    Random random(mix_seed({options_.seed, name_seed("prompt"), i}));
    for (int64_t t = 0; t < context; ++t) {
      prompts[i].push_back(static_cast<int32_t>(random.below(vocab)));
    }
  }
  return prompts;
}

std::vector<int32_t> CellTimer::prefill(Forward& forward, std::span<SequenceState> states,
                                        const std::vector<std::vector<int32_t>>& prompts) const {
  const auto batch = std::ssize(prompts);
  // The first tokens stay on the device until all are chosen.
  const auto memory = ops_.allocate(static_cast<size_t>(batch) * 2 * sizeof(int64_t));
  const Tensor positions(memory->data(), DType::i64, ops_.device(), {batch});
  const Tensor chosen(static_cast<int64_t*>(memory->data()) + batch, DType::i32, ops_.device(),
                      {batch});
  const std::vector<int64_t> last(static_cast<size_t>(batch), std::ssize(prompts[0]) - 1);
  ops_.copy(positions.data, last.data(), positions.bytes());

  std::vector<SequenceInput> inputs;
  std::vector<std::pair<int64_t, int64_t>> finished;  // sequence, row
  int64_t sequence = 0, taken = 0;
  while (sequence < batch) {
    inputs.clear();
    finished.clear();
    int64_t rows = 0;
    while (rows < forward.max_rows() && sequence < batch) {
      const std::span<const int32_t> prompt = prompts[static_cast<size_t>(sequence)];
      const int64_t count = std::min(forward.max_rows() - rows, std::ssize(prompt) - taken);
      inputs.push_back({&states[static_cast<size_t>(sequence)],
                        prompt.subspan(static_cast<size_t>(taken), static_cast<size_t>(count))});
      rows += count;
      taken += count;
      if (taken < std::ssize(prompt)) continue;
      finished.emplace_back(sequence++, rows - 1);
      taken = 0;
    }
    const Tensor hidden = forward.run(inputs);
    for (const auto& [index, row] : finished) {
      SampleParams sample;
      sample.logits = forward.logits(hidden, row, 1);
      ops_.phase(Phase::sample, -1);
      sample.positions = positions.rows(index, 1);
      sample.tokens = chosen.rows(index, 1);
      ops_.sample(sample);
    }
  }
  std::vector<int32_t> tokens(static_cast<size_t>(batch));
  ops_.copy(tokens.data(), chosen.data, chosen.bytes());
  return tokens;
}

PrefilledBatch CellTimer::prefill_one(int64_t context) const {
  Forward forward(weights_, *policy_, ops_, std::min(options_.chunk, context));
  PrefilledBatch one{start(1, context), {}};
  one.tokens = prefill(forward, one.states, prompts(1, context));
  return one;
}

void CellTimer::replicate(int64_t batch, PrefilledBatch* prefilled) const {
  while (std::ssize(prefilled->states) < batch) {
    const SequenceState& first = prefilled->states.front();
    SequenceState copy;
    copy.length = first.length;
    for (const auto& layer : first.layers) copy.layers.push_back(layer->clone(ops_));
    prefilled->states.push_back(std::move(copy));
    prefilled->tokens.push_back(prefilled->tokens.front());
  }
}

double CellTimer::warm_up(int64_t batch, int64_t context) const {
  const int64_t tokens = std::min(context, options_.chunk);
  const int64_t sequences = std::clamp<int64_t>(options_.chunk / tokens, 1, batch);
  const auto texts = prompts(sequences, tokens);
  Forward forward(weights_, *policy_, ops_, std::min(options_.chunk, sequences * tokens));
  std::vector<SequenceState> states = start(sequences, tokens);
  return timed(ops_, [&] { prefill(forward, states, texts); });
}

void CellTimer::rehearse(int64_t batch, int64_t context) const {
  Weights first;
  first.config = weights_.config;
  first.config.layers = 1;
  first.embedding = weights_.embedding;
  first.final_norm = weights_.final_norm;
  first.head = weights_.head;
  first.layers = {weights_.layers.front()};
  const CellTimer timer(first, ops_, method_, options_);
  Forward forward(first, *timer.policy_, ops_, std::min(options_.chunk, batch * context));
  std::vector<SequenceState> states = timer.start(batch, context);
  timer.prefill(forward, states, prompts(batch, context));
}

Observation CellTimer::time_prefill(int64_t batch, int64_t context, bool traced_first,
                                    PrefilledBatch* keep) const {
  const auto texts = prompts(batch, context);
  const int64_t rows = std::min(options_.chunk, batch * context);
  PrefilledBatch last;
  const auto pass = [&](Ops& ops) {
    last.states.clear();
    Forward forward(weights_, *policy_, ops, rows);
    last.states = start(batch, context);
    return timed(ops_, [&] { last.tokens = prefill(forward, last.states, texts); });
  };
  Observation result;
  result.interval_seconds = ops_.empty_interval_seconds();
  std::vector<double> totals, traced, without;
  std::vector<PhaseLedger> ledgers;
  const auto trace = [&] {
    ops_.trace({.times = true, .stride = 1, .offset = 0});
    traced.push_back(pass(ops_));
    ledgers.push_back(ops_.take_ledger());
    ops_.trace({});
    correct(&ledgers.back(), result.interval_seconds);
  };
  double spent = 0;
  do {
    if (plan_.bank == DecodeBank::landmark) {
      WithoutBankUpdate removed(ops_);
      without.push_back(pass(removed));
    }
    if (traced_first) trace();
    totals.push_back(pass(ops_));
    if (!traced_first) trace();
    spent += totals.back();
  } while (spent < kEnoughSeconds && totals.size() < kMostPasses);
  result.seconds = median(totals);
  result.traced_seconds = median(traced);
  if (!without.empty()) result.without_bank_seconds = median(without);
  result.ledger = median_ledger(ledgers);
  result.evicted_tokens =
      static_cast<double>(batch) *
      static_cast<double>(std::max<int64_t>(0, plan_.first_recent(context - 1) - plan_.sinks));
  if (keep != nullptr) *keep = std::move(last);
  return result;
}

std::unique_ptr<DecodeBatch> CellTimer::decode_batch(PrefilledBatch* prefilled, int64_t max_steps,
                                                     const DecodeOptions& options) const {
  std::vector<SequenceState*> states;
  for (SequenceState& state : prefilled->states) states.push_back(&state);
  return std::make_unique<DecodeBatch>(weights_, *policy_, ops_, std::move(states),
                                       prefilled->tokens, max_steps, options);
}

void CellTimer::disperse(DecodeBatch* batch) const {
  Random random(
      mix_seed({options_.seed, name_seed("next token"), static_cast<uint64_t>(batch->steps())}));
  std::vector<int32_t> tokens = batch->newest();
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random.below(static_cast<uint64_t>(weights_.config.vocab)));
  }
  batch->force(tokens);
}

double CellTimer::time_steps(DecodeBatch* batch, int64_t steps,
                             const std::function<void()>& begin) const {
  batch->record();
  disperse(batch);
  for (int64_t i = 0; i < options_.warm_steps; ++i) batch->step();
  if (begin) {
    ops_.synchronize();
    begin();
  }
  return timed(ops_,
               [&] {
                 for (int64_t i = 0; i < steps; ++i) batch->step();
               }) /
         static_cast<double>(steps);
}

PhaseLedger CellTimer::declared_work(DecodeBatch* batch) const {
  ops_.trace({.times = true, .stride = 1, .offset = 0});
  batch->record();
  batch->step();
  ops_.synchronize();
  PhaseLedger ledger = ops_.take_ledger();
  ops_.trace({});
  for (PhaseWork& work : ledger) {
    work.seconds = 0;
    work.intervals = 0;
  }
  return ledger;
}

double CellTimer::calm_step(DecodeBatch* batch, int64_t first_position) const {
  const int64_t steps = calm_steps();
  if (round() > kCalmSteps) {
    // Past the next eviction, if it would fall into the steps.
    int64_t position = first_position + batch->steps();
    while (plan_.evict_end(position + steps - 1) > plan_.evict_begin(position)) {
      batch->step();
      ++position;
    }
  }
  disperse(batch);
  return timed(ops_,
               [&] {
                 for (int64_t i = 0; i < steps; ++i) batch->step();
               }) /
         static_cast<double>(steps);
}

void CellTimer::trace_steps(DecodeBatch* batch, int64_t first_position, int64_t visit,
                            Traced* traced) const {
  const int offset = offset_of(visit);
  ops_.trace({.times = true, .stride = options_.stride, .offset = offset});
  batch->record();
  batch->step();  // the first replay of a recording also loads it
  const auto repeats = static_cast<double>(visits() / options_.stride);
  traced->timed += calm_step(batch, first_position) / repeats;
  ops_.take_ledger();
  disperse(batch);
  const int64_t steps = steps_at(offset);
  for (int64_t i = 0; i < steps; ++i) {
    batch->step();
    const PhaseLedger step = ops_.take_ledger();
    for (size_t p = 0; p < kPhases; ++p) {
      traced->ledger[p].seconds += step[p].seconds / (static_cast<double>(steps) * repeats);
      if (i > 0 || visit >= options_.stride) continue;
      traced->ledger[p].intervals += step[p].intervals;
      traced->intervals += step[p].intervals;
    }
  }
  ops_.trace({});
}

void CellTimer::plain_steps(DecodeBatch* batch, int64_t first_position, int64_t turn,
                            Traced* traced, Observation* result) const {
  const int64_t rounds = options_.steps / round();
  const int64_t steps = round() * (rounds * (turn + 1) / turns() - rounds * turn / turns());
  const double share = static_cast<double>(steps) / static_cast<double>(options_.steps);
  const double seconds = time_steps(batch, steps);
  result->seconds += seconds * share;
  const int64_t end = first_position + batch->steps(), begin = end - steps;
  result->evicted_tokens +=
      static_cast<double>(plan_.evict_end(end - 1) - plan_.evict_begin(begin)) /
      static_cast<double>(options_.steps);
  // Where rounds are long, traced steps are compared with steps in which nothing is evicted either.
  const bool calm = round() > kCalmSteps;
  traced->plain += share * (calm ? calm_step(batch, first_position) : seconds);
}

void CellTimer::set_ledger(const Traced& traced, Observation* result) const {
  result->traced_seconds = traced.timed / options_.stride;
  // On a GPU an interval costs its events, and that kernels on both sides of them no longer
  // overlap. How much that is depends on the kernels, so it is taken from the step itself. A run of
  // n intervals has n + 1 events; half of the first and half of the last lie outside of it.
  if (ops_.device() != Device::cpu && traced.intervals > 0) {
    result->interval_seconds = (traced.timed - options_.stride * traced.plain) /
                               static_cast<double>(traced.intervals + timed_runs());
    result->overlap_seconds = (result->interval_seconds - ops_.empty_interval_seconds()) *
                              static_cast<double>(traced.intervals);
  }
  result->ledger = traced.ledger;
  correct(&*result->ledger, result->interval_seconds);
}

Observation CellTimer::time_decode(PrefilledBatch* prefilled) const {
  const int64_t first = prefilled->states.front().length;
  Observation result;
  result.steps = options_.steps;
  {
    const auto batch = decode_batch(prefilled, longest(first) - first, {});
    Traced traced;
    traced.ledger = declared_work(batch.get());
    int64_t visit = 0;
    for (int64_t turn = 0; turn < turns(); ++turn) {
      const auto trace = [&](int64_t until) {
        while (visit < until) trace_steps(batch.get(), first, visit++, &traced);
      };
      const int64_t until = visits() * (turn + 1) / turns();
      // Each comes first as often as the other, so that caches which grow weigh the same in both.
      if (turn % 2 == 1) trace(until);
      plain_steps(batch.get(), first, turn, &traced, &result);
      trace(until);
    }
    result.evicted_tokens *= static_cast<double>(prefilled->states.size());
    set_ledger(traced, &result);
    prefilled->tokens = batch->newest();
    batch->finish();
  }
  if (plan_.bank != DecodeBank::landmark) return result;
  const auto batch = decode_batch(prefilled, options_.warm_steps + options_.steps,
                                  {.sampling = {}, .recorded = true, .evict = false});
  result.without_bank_seconds = time_steps(batch.get(), options_.steps);
  prefilled->states.clear();
  return result;
}

}  // namespace kvg
