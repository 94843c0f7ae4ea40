#include "base/error.h"
#include "kernels/cuda/cross_test.h"
#include "kernels/decode.h"

#include <cmath>
#include <list>
#include <optional>

namespace kvg::cuda {
namespace {

constexpr int64_t kSequences = 3, kLayers = 2, kHidden = 128, kFfn = 192, kVocab = 211;
constexpr int kHeads = 4, kKvHeads = 2, kHeadDim = 64;
constexpr int64_t kFused = int64_t{kHeads + 2 * kKvHeads} * kHeadDim + kHeads;
constexpr int64_t kMaxTokens = 64, kSteps = 9;

// A decoder with random weights and two-stream attention over a full cache of ragged sequences: one
// decode step as the model issues it, on either set.
class StepTest : public GpuTest {
 protected:
  struct Layer {
    CrossTensor norm, fused, theta, output, mlp_norm, gate_up, down;
    std::list<CrossStore> stores;  // a sequence each
  };

  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped()) return;
    sets_.emplace();
    codec_ = Codec::make({.kind = CodecKind::bf16}, kHeadDim);
    const double small = 0.0625;
    embedding_ = random({kVocab, kHidden}, 1);
    head_ = random({kVocab, kHidden}, small);
    head_norm_ = random({kHidden}, 1);
    for (int64_t l = 0; l < kLayers; ++l) {
      layers_.push_back({random({kHidden}, 1),
                         random({kFused, kHidden}, small),
                         CrossTensor::random(*sets_, DType::f32, {kHeads, kHeadDim / 2}, ++seed_),
                         random({kHidden, kHeads * kHeadDim}, small),
                         random({kHidden}, 1),
                         random({2 * kFfn, kHidden}, small),
                         random({kHidden, kFfn}, small),
                         {}});
    }
    for (CrossTensor* out : {&x_, &normed_, &delta_}) {
      *out = CrossTensor(*sets_, DType::bf16, {kSequences, kHidden});
    }
    fused_ = CrossTensor(*sets_, DType::bf16, {kSequences, kFused});
    q_ = CrossTensor(*sets_, DType::bf16, {kSequences, 2, kHeads, kHeadDim});
    k_ = CrossTensor(*sets_, DType::bf16, {kSequences, kKvHeads, kHeadDim});
    v_ = CrossTensor(*sets_, DType::bf16, {kSequences, kKvHeads, kHeadDim});
    lambda_ = CrossTensor(*sets_, DType::f32, {kSequences, kHeads});
    gate_ = CrossTensor(*sets_, DType::f32, {kSequences});
    attended_ = CrossTensor(*sets_, DType::bf16, {kSequences, kHeads, kHeadDim});
    gate_up_ = CrossTensor(*sets_, DType::bf16, {kSequences, 2 * kFfn});
    activated_ = CrossTensor(*sets_, DType::bf16, {kSequences, kFfn});
    logits_ = CrossTensor(*sets_, DType::f32, {kSequences, kVocab});
  }

  CrossTensor random(std::initializer_list<int64_t> shape, double scale) {
    return CrossTensor::random(*sets_, DType::bf16, shape, ++seed_, scale);
  }

  // Sequences of 0, 5 and 17 tokens, the same each time.
  void start() {
    const std::vector<int64_t> lengths = {0, 5, 17};
    positions_ = CrossNumbers<int64_t>(*sets_, lengths);
    first_positions_ = CrossNumbers<int64_t>(*sets_, lengths);
    tokens_ = CrossNumbers<int32_t>(*sets_, {3, 50, 7});
    history_ = CrossNumbers<int32_t>(
        *sets_, std::vector<int32_t>(static_cast<size_t>(kSequences * kSteps), -7),
        {kSequences, kSteps});
    uint64_t seed = 1000;
    for (int64_t l = 0; l < kLayers; ++l) {
      Layer& layer = layers_[static_cast<size_t>(l)];
      layer.stores.clear();
      for (const int64_t length : lengths) {
        CrossStore& store = layer.stores.emplace_back(*sets_, *codec_, kMaxTokens, kKvHeads);
        CrossTensor k =
            CrossTensor::random(*sets_, DType::bf16, {length, kKvHeads, kHeadDim}, ++seed);
        CrossTensor v =
            CrossTensor::random(*sets_, DType::bf16, {length, kKvHeads, kHeadDim}, ++seed);
        for (Ops* ops : {sets_->reference.get(), sets_->cuda.get()}) {
          if (length == 0) continue;
          ops->store({k.on(*ops), v.on(*ops), static_cast<int32_t>(l), store.on(*ops), 0});
        }
      }
    }
  }

  std::unique_ptr<DecodeState> prepare(Ops& ops) {
    DecodePlan plan;
    plan.sequences = kSequences;
    plan.layers = kLayers;
    plan.max_tokens = kMaxTokens;
    plan.heads = kHeads;
    plan.kv_heads = kKvHeads;
    plan.head_dim = kHeadDim;
    plan.streams = 2;
    std::vector<DecodeCache> caches;
    for (const Layer& layer : layers_) {
      for (const CrossStore& store : layer.stores) caches.emplace_back().recent = store.on(ops);
    }
    return ops.prepare_decode(std::move(plan), std::move(caches));
  }

  void attend(Ops& ops, DecodeState& state, int32_t l) {
    Layer& layer = layers_[static_cast<size_t>(l)];
    ops.phase(Phase::rope, l);
    PrepareHeadsParams heads;
    heads.fused = fused_.on(ops);
    heads.positions = positions_.on(ops);
    heads.heads = kHeads;
    heads.kv_heads = kKvHeads;
    heads.head_dim = kHeadDim;
    heads.theta = layer.theta.on(ops);
    heads.lambda_column = static_cast<int>(kFused) - kHeads;
    heads.q = q_.on(ops);
    heads.k = k_.on(ops);
    heads.v = v_.on(ops);
    heads.lambda = lambda_.on(ops);
    heads.gate = gate_.on(ops);
    ops.prepare_heads(heads);
    ops.phase(Phase::attention, l);
    DecodeAttentionParams attention;
    attention.state = &state;
    attention.layer = l;
    attention.positions = positions_.on(ops);
    attention.q = q_.on(ops);
    attention.k = k_.on(ops);
    attention.v = v_.on(ops);
    attention.gate = gate_.on(ops);
    attention.lambda = lambda_.on(ops);
    attention.scale = 1 / std::sqrt(static_cast<double>(kHeadDim));
    attention.known_positions = first_positions_.values();
    attention.out = attended_.on(ops);
    ops.decode_attention(attention);
  }

  void step(Ops& ops, DecodeState& state) {
    ops.phase(Phase::bank, -1);
    ops.decode_evict(state, positions_.on(ops));
    ops.phase(Phase::embed, -1);
    ops.embed({tokens_.on(ops), embedding_.on(ops), x_.on(ops)});
    for (int32_t l = 0; l < kLayers; ++l) {
      Layer& layer = layers_[static_cast<size_t>(l)];
      ops.phase(Phase::qkv, l);
      ops.rms_norm({x_.on(ops), l == 0 ? Tensor() : delta_.on(ops), layer.norm.on(ops), 1e-5,
                    normed_.on(ops)});
      ops.linear({normed_.on(ops), layer.fused.on(ops), {}, fused_.on(ops)});
      attend(ops, state, l);
      ops.phase(Phase::output, l);
      Tensor attended = attended_.on(ops);
      attended = {attended.data, attended.dtype, attended.device, {kSequences, kHeads * kHeadDim}};
      ops.linear({attended, layer.output.on(ops), {}, delta_.on(ops)});
      ops.phase(Phase::mlp, l);
      ops.rms_norm({x_.on(ops), delta_.on(ops), layer.mlp_norm.on(ops), 1e-5, normed_.on(ops)});
      ops.linear({normed_.on(ops), layer.gate_up.on(ops), {}, gate_up_.on(ops)});
      ops.swiglu({gate_up_.on(ops), activated_.on(ops)});
      ops.linear({activated_.on(ops), layer.down.on(ops), {}, delta_.on(ops)});
    }
    ops.phase(Phase::head, -1);
    ops.rms_norm({x_.on(ops), delta_.on(ops), head_norm_.on(ops), 1e-5, normed_.on(ops)});
    ops.linear({normed_.on(ops), head_.on(ops), {}, logits_.on(ops)});
    ops.phase(Phase::sample, -1);
    SampleParams sample;
    sample.logits = logits_.on(ops);
    sample.temperature = 0.8;
    sample.top_p = 0.95;
    sample.seed = 17;
    sample.positions = positions_.on(ops);
    sample.tokens = tokens_.on(ops);
    sample.advance = true;
    sample.history = history_.on(ops);
    sample.first_positions = first_positions_.on(ops);
    ops.sample(sample);
  }

  std::optional<CrossSets> sets_;
  std::unique_ptr<Codec> codec_;
  uint64_t seed_ = 0;
  CrossTensor embedding_, head_, head_norm_;
  std::vector<Layer> layers_;
  CrossTensor x_, normed_, delta_, fused_, q_, k_, v_, lambda_, gate_, attended_, gate_up_,
      activated_, logits_;
  CrossNumbers<int64_t> positions_, first_positions_;
  CrossNumbers<int32_t> tokens_, history_;
};

TEST_F(StepTest, LogitsMatchTheReference) {
  start();
  for (Ops* ops : {sets_->reference.get(), sets_->cuda.get()}) {
    const std::unique_ptr<DecodeState> state = prepare(*ops);
    step(*ops, *state);
    ops->synchronize();
  }
  EXPECT_LT(attended_.error(), 2e-2);
  EXPECT_LT(logits_.error(), 2e-2);  // two layers of activations rounded to bf16
  EXPECT_EQ(positions_.result(), (std::vector<int64_t>{1, 6, 18}));
}

TEST_F(StepTest, ReplaysEqualEagerStepsBitwise) {
  Ops& ops = *sets_->cuda;
  start();
  std::unique_ptr<DecodeState> state = prepare(ops);
  for (int64_t i = 0; i < kSteps; ++i) step(ops, *state);
  const std::vector<int32_t> tokens = history_.result();
  const std::vector<double> logits = logits_.result();
  for (const int32_t token : tokens) EXPECT_GE(token, 0);

  start();
  state = prepare(ops);
  const std::unique_ptr<Recording> recording = ops.record([&] { step(ops, *state); });
  EXPECT_EQ(positions_.result(), (std::vector<int64_t>{0, 5, 17})) << "recording ran the step";
  for (int64_t i = 0; i < kSteps; ++i) recording->replay();
  EXPECT_EQ(history_.result(), tokens);
  EXPECT_EQ(logits_.result(), logits);
}

TEST_F(StepTest, TheLedgerOfAReplayHasEveryPhaseOfEveryLayer) {
  Ops& ops = *sets_->cuda;
  start();
  const std::unique_ptr<DecodeState> state = prepare(ops);
  ops.trace({.times = true});
  const std::unique_ptr<Recording> recording = ops.record([&] { step(ops, *state); });
  recording->replay();
  recording->replay();
  const PhaseLedger ledger = ops.take_ledger();
  for (size_t i = 0; i < kPhases; ++i) {
    const auto phase = static_cast<Phase>(i);
    const bool once = phase == Phase::embed || phase == Phase::bank || phase == Phase::head ||
                      phase == Phase::sample;
    EXPECT_EQ(ledger[i].intervals, once ? 1 : kLayers) << phase_name(phase);
    if (phase == Phase::bank) continue;  // nothing leaves a full cache
    EXPECT_GT(ledger[i].launches, 0) << phase_name(phase);
    EXPECT_GT(ledger[i].bytes, 0) << phase_name(phase);
  }
  // Norm, gate and up, SwiGLU, down.
  constexpr int64_t kMlp = 5 * kHidden + 4 * kHidden * kFfn + 5 * kFfn + 2 * kFfn * kHidden;
  EXPECT_EQ(ledger[static_cast<size_t>(Phase::mlp)].flops, kLayers * kSequences * kMlp);
}

}  // namespace
}  // namespace kvg::cuda
