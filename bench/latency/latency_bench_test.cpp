#include "base/error.h"
#include "bench/gpu_monitor.h"
#include "bench/gpu_sampler.h"
#include "bench/latency/bench_common.h"
#include "bench/latency/cell_timer.h"
#include "bench/latency/forwarding_ops.h"
#include "bench/latency/latency_run.h"
#include "bench/latency/memory_limit.h"
#include "bench/latency/schedule.h"
#include "bench/latency/sliced_checkpoint.h"
#include "model/forward.h"
#include "model/session.h"
#include "reports/latency_digest.h"
#include "reports/run_test_util.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using reports::TemporaryFolder;
using ::testing::HasSubstr;

constexpr const char* kLandmark = "landmark(window=16,exact=8,summary=8)";

// A slice of the smallest preset on the host.
class BenchTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    ops_ = make_cpu_ops(1).release();
    const auto checkpoint = slice_layers(Checkpoint::open("preset:kvg-tiny"), 2);
    weights_ = new Weights(Weights::load(*checkpoint, *ops_));
  }
  static void TearDownTestSuite() {
    delete weights_;
    delete ops_;
  }

  static BenchRequest request(const std::string& kind) {
    BenchRequest request;
    request.kind = kind;
    request.model = "kvg-tiny";
    request.model_hash = "hash";
    request.model_config = "{}";
    request.layers = 2;
    request.full_layers = 6;
    request.ops = "cpu";
    request.methods = {"full", Method::parse(kLandmark).canonical()};
    request.contexts = {24, 48};
    request.repeats = 2;
    request.timing.chunk = 32;
    request.timing.steps = 40;
    request.timing.traced_steps = 1;
    request.timing.warm_steps = 1;
    return request;
  }
  LatencyOptions latency(const std::string& name) const {
    LatencyOptions options;
    options.request = request("latency");
    options.request.batches = {1, 3};
    options.request.stages = {"prefill", "decode"};
    options.prefill_batches = {1, 3};
    options.folder = folder_ / name;
    return options;
  }

  TemporaryFolder folder_;
  static Ops* ops_;
  static Weights* weights_;
};
Ops* BenchTest::ops_ = nullptr;
Weights* BenchTest::weights_ = nullptr;

TEST(ScheduleTest, CheapStagesAreServedBeforeLongOnes) {
  // 5 repeats: the short one still needs 4 x 1 s before the long one may take 10 s.
  std::vector<PlannedStage> stages = {{1, 1, false}, {10, 0, false}};
  EXPECT_TRUE(affordable(stages, 1, 5, 14, 0));
  EXPECT_FALSE(affordable(stages, 1, 5, 13.9, 0));
  EXPECT_TRUE(affordable(stages, 0, 5, 1, 0)) << "the long one reserves nothing";
  EXPECT_FALSE(affordable(stages, 0, 5, 0.9, 0));
  // First repeats have seconds of their own, after the first repeats of cheaper stages.
  EXPECT_TRUE(affordable(stages, 1, 5, 13, 10));
  EXPECT_FALSE(affordable(stages, 1, 5, 13, 9.9));
  stages[0].done = 0;
  EXPECT_FALSE(affordable(stages, 1, 5, 13, 10));
  EXPECT_TRUE(affordable(stages, 1, 5, 13, 11));
  stages[1].done = 1;
  EXPECT_FALSE(affordable(stages, 1, 5, 13, 100)) << "the second repeat of a long one waits";
  stages[0].over = true;
  EXPECT_TRUE(affordable(stages, 1, 5, 10, 0));
  stages[0] = {1, 7, false};
  EXPECT_TRUE(affordable(stages, 1, 5, 10, 0)) << "more repeats than asked for reserve nothing";
}

TEST(CommonTest, ShuffledOrdersArePermutationsOfTheirOwn) {
  std::set<std::vector<size_t>> orders;
  for (int64_t round = 0; round < 5; ++round) {
    std::vector<size_t> order = shuffled(12, 3, round);
    EXPECT_EQ(order, shuffled(12, 3, round));
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
  }
  EXPECT_EQ(orders.size(), 5u);
}

TEST(CommonTest, Median) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(CommonTest, QuantilesLieBetweenNeighbours) {
  EXPECT_EQ(quantile({3, 1, 2}, 0), 1);
  EXPECT_EQ(quantile({3, 1, 2}, 1), 3);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.1), 1.3);
  EXPECT_EQ(quantile({7}, 0.9), 7);
}

TEST(GpuSamplerTest, MeansAreOverTheReadingsThatTell) {
  const std::vector<GpuReading> readings = {
      {1980, {}, 600, {}, ""},
      {1500, {}, {}, {}, "power cap"},
      {1620, {}, 700, {}, "power cap"},
      {1500, {}, 680, {}, "thermal slowdown (hardware), power cap"}};
  const GpuStretch stretch = summarize(readings);
  EXPECT_EQ(stretch.sm_mhz.value_or(0), 1650);
  EXPECT_EQ(stretch.power_watts.value_or(0), 660);
  EXPECT_EQ(stretch.held_back.value_or(0), 0.75);
  EXPECT_EQ(stretch.held_back_by, "power cap, thermal slowdown (hardware)");
  const GpuStretch nothing = summarize({});
  EXPECT_FALSE(nothing.sm_mhz || nothing.power_watts || nothing.held_back);
}

TEST(GpuSamplerTest, FollowsWhatIsThere) {
  const GpuMonitor monitor;
  GpuSampler sampler(monitor);
  EXPECT_EQ(sampler.stop().sm_mhz.has_value(), monitor.read().sm_mhz.has_value());
  EXPECT_FALSE(GpuSampler(monitor, false).stop().sm_mhz);
}

// Operations that would run a bank update beside others, as a GPU does.
class BesideOps : public ForwardingOps {
 public:
  using ForwardingOps::ForwardingOps;
  bool runs_beside() const override { return true; }
};

// Final hidden states of two sequences that go through the layers in one call, and then one more
// token each.
std::vector<float> hidden_states(const Weights& weights, Ops& ops, const std::string& method) {
  const std::vector<int64_t> lengths = {900, 400};
  const auto policy = make_policy(Method::parse(method));
  Forward forward(weights, *policy, ops, 1300);
  const CacheGeometry geometry = cache_geometry(weights.config);
  std::vector<SequenceState> states(lengths.size());
  std::vector<std::vector<int32_t>> tokens;
  std::vector<SequenceInput> inputs;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int layer = 0; layer < geometry.layers; ++layer) {
      states[i].layers.push_back(policy->make_layer(ops, geometry, layer, 1000));
    }
    tokens.emplace_back();
    for (int64_t t = 0; t < lengths[i]; ++t) {
      tokens[i].push_back(static_cast<int32_t>((t * 7919 + static_cast<int64_t>(i) * 31) % 500));
    }
    inputs.push_back({&states[i], tokens[i]});
  }
  std::vector<float> values;
  const auto keep = [&](const Tensor& hidden) {
    values.insert(values.end(), hidden.as<float>(), hidden.as<float>() + hidden.elements());
  };
  keep(forward.run(inputs));
  for (SequenceInput& input : inputs) input.tokens = input.tokens.first(1);
  keep(forward.run(inputs));
  return values;
}

// In two groups, half a layer apart, where a sequence is cut in the middle.
TEST_F(BenchTest, RowsInTurnsGiveWhatTheyGiveTogether) {
  BesideOps beside(*ops_);
  for (const char* method : {kLandmark, "landmark(window=64,exact=8,summary=8,block=32)"}) {
    const std::vector<float> together = hidden_states(*weights_, *ops_, method);
    const std::vector<float> in_turns = hidden_states(*weights_, beside, method);
    ASSERT_EQ(together.size(), in_turns.size());
    for (size_t i = 0; i < together.size(); ++i) {
      ASSERT_NEAR(together[i], in_turns[i], 1e-4) << method << ", value " << i;
    }
  }
}

TEST_F(BenchTest, MemoryLimitCountsWhatIsAlive) {
  MemoryLimit limit(*ops_, 1000);
  auto first = limit.allocate(600);
  EXPECT_EQ(limit.available_memory(), 400u);
  EXPECT_THROW(limit.allocate(401), Error);
  auto second = limit.allocate(400);
  first.reset();
  EXPECT_EQ(limit.available_memory(), 600u);
  EXPECT_EQ(limit.allocate(600)->bytes(), 600u);
}

TEST_F(BenchTest, SlicesHaveTheirOwnHashAndFewerLayers) {
  EXPECT_EQ(weights_->layers.size(), 2u);
  const auto whole = Checkpoint::open("preset:kvg-tiny");
  const std::string hash = whole->hash();
  const auto slice = slice_layers(Checkpoint::open("preset:kvg-tiny"), 3);
  EXPECT_EQ(slice->config().layers, 3);
  EXPECT_NE(slice->hash(), hash);
  EXPECT_EQ(slice_layers(Checkpoint::open("preset:kvg-tiny"), 6)->hash(), hash);
  EXPECT_THROW(slice_layers(Checkpoint::open("preset:kvg-tiny"), 7), Error);
}

TEST_F(BenchTest, TimesEveryPhaseOfBothStages) {
  TimingOptions options = request("latency").timing;
  options.stride = 2;
  const CellTimer timer(*weights_, *ops_, Method::parse(kLandmark), options);
  PrefilledBatch batch;
  const Observation prefill = timer.time_prefill(3, 40, true, &batch);
  ASSERT_EQ(batch.states.size(), 3u);
  EXPECT_EQ(batch.states[2].length, 40);
  EXPECT_EQ(batch.tokens.size(), 3u);
  EXPECT_GT(prefill.seconds, 0);
  EXPECT_GT(prefill.without_bank_seconds.value_or(0), 0);
  for (const PhaseWork& work : *prefill.ledger) EXPECT_GT(work.intervals, 0);
  EXPECT_EQ(prefill.evicted_tokens,
            3.0 * static_cast<double>(timer.plan().first_recent(39) - timer.plan().sinks));

  const Observation decode = timer.time_decode(&batch);
  EXPECT_EQ(decode.steps % timer.plan().block, 0) << "whole rounds of eviction";
  EXPECT_DOUBLE_EQ(decode.evicted_tokens, 3);
  const auto intervals = [&](Phase phase) {
    return (*decode.ledger)[static_cast<size_t>(phase)].intervals;
  };
  // Offsets are visited twice, and together have every layer once, what has no layer once.
  EXPECT_EQ(intervals(Phase::mlp), 2);
  EXPECT_EQ(intervals(Phase::attention), 2);
  EXPECT_EQ(intervals(Phase::embed), 1);
  EXPECT_EQ(intervals(Phase::sample), 1);
  EXPECT_GT((*decode.ledger)[static_cast<size_t>(Phase::bank)].seconds, 0);
}

TEST_F(BenchTest, ReplicasAreIndependentCopies) {
  const CellTimer timer(*weights_, *ops_, Method::parse("full"), request("latency").timing);
  PrefilledBatch batch = timer.prefill_one(24);
  timer.replicate(4, &batch);
  ASSERT_EQ(batch.states.size(), 4u);
  auto decode = timer.decode_batch(&batch, 3, {});
  for (int i = 0; i < 3; ++i) decode->step();
  const auto tokens = decode->tokens();
  for (const auto& sequence : tokens) EXPECT_EQ(sequence, tokens[0]);
}

TEST_F(BenchTest, TimedStepsOfCopiesTakeDifferentTokensIn) {
  const CellTimer timer(*weights_, *ops_, Method::parse("full"), request("latency").timing);
  PrefilledBatch batch = timer.prefill_one(24);
  timer.replicate(4, &batch);
  const auto decode = timer.decode_batch(&batch, timer.longest(24) - 24, {});
  timer.time_steps(decode.get(), 1);
  const auto tokens = decode->tokens();
  EXPECT_EQ(std::set(tokens.begin(), tokens.end()).size(), 4u);
}

TEST_F(BenchTest, ALatencyRunLeavesARecordThatTheReportReads) {
  const BenchOutcome outcome = run_latency(*weights_, *ops_, latency("run"));
  const reports::LatencyRun run = reports::read_latency_run(outcome.folder);
  EXPECT_EQ(run.status, "complete");
  EXPECT_TRUE(run.notes.empty());
  EXPECT_EQ(run.planned_items, 2 * 2 * 2 * 2 * 2);
  EXPECT_EQ(std::ssize(run.rows), run.planned_items);
  EXPECT_TRUE(run.sliced());
  EXPECT_GT(run.step_weight_bytes, 0);
  EXPECT_LE(run.step_weight_bytes, run.weight_bytes);
  const reports::LatencyDigest digest = make_latency_digest(run, {});
  for (const reports::LatencyCell& cell : digest.cells) {
    ASSERT_TRUE(cell.measured());
    EXPECT_EQ(cell.total->repeats, 2);
    EXPECT_EQ(cell.phases.size(), cell.method == 0 ? 8u : 9u);
    EXPECT_EQ(cell.removed.has_value(), cell.method == 1);
  }
  // The report agrees with the writer's own verdicts.
  for (const std::string& note : digest.notes) {
    EXPECT_EQ(note.find("its lines say"), std::string::npos) << note;
  }
  EXPECT_THAT(reports::error_of([&] { run_latency(*weights_, *ops_, latency("run")); }),
              HasSubstr("an empty or new folder"));
}

// Counts the calls of attention, otherwise the set it stands on.
class CountingOps : public ForwardingOps {
 public:
  using ForwardingOps::ForwardingOps;
  void attention(const AttentionParams& params) override {
    ++calls;
    ForwardingOps::attention(params);
  }
  int calls = 0;
};

TEST_F(BenchTest, AContenderHasCellsOfItsOwn) {
  CountingOps peer(*ops_);
  LatencyOptions options = latency("contender");
  options.request.methods = {"full", "full (peer)"};
  options.request.batches = options.prefill_batches = {1};
  options.contender = {"full (peer)", "full", &peer};
  const BenchOutcome outcome = run_latency(*weights_, *ops_, options);
  EXPECT_GT(peer.calls, 0);
  const reports::LatencyRun run = reports::read_latency_run(outcome.folder);
  EXPECT_EQ(std::ssize(run.rows), run.planned_items);
  EXPECT_EQ(run.planned_items, (2 + 1) * 2 * 2) << "the contender does not decode";
  EXPECT_EQ(std::count_if(run.rows.begin(), run.rows.end(),
                          [](const reports::LatencyRow& row) {
                            return row.method == "full (peer)" && row.stage == "prefill";
                          }),
            4);
  const reports::LatencyDigest digest = make_latency_digest(run, {});
  EXPECT_EQ(digest.methods[1].label, "full (peer)");
  EXPECT_EQ(digest.cells.size(), 6u) << "nothing is missing";
  EXPECT_EQ(digest.reference.value_or(9), 0u);
}

// Every shape of a chunked prefill is met, by one layer of the two.
TEST_F(BenchTest, RehearsalsVisitAllCallsOfOneLayer) {
  CountingOps counting(*ops_);
  const CellTimer timer(*weights_, counting, Method::parse("full"), request("latency").timing);
  timer.rehearse(1, 80);
  EXPECT_EQ(counting.calls, 3) << "calls of 32, 32 and 16 rows";
}

TEST_F(BenchTest, CellsThatDoNotFitAreLinesWithTheirBytes) {
  // Two full sequences of 1024 tokens would fit; 3 do not.
  const CellTimer timer(*weights_, *ops_, Method::parse("full"), request("latency").timing);
  const auto one = static_cast<uint64_t>(timer.cache_bytes(timer.longest(1024)).total());
  LatencyOptions options = latency("tight");
  options.request.methods = {"full"};
  options.request.contexts = {1024};
  options.request.repeats = 1;
  MemoryLimit tight(*ops_, 2 * one + working_bytes(*weights_, *ops_, 32) + (size_t{1} << 20));
  const BenchOutcome outcome = run_latency(*weights_, tight, options);
  const reports::LatencyRun run = reports::read_latency_run(outcome.folder);
  int64_t large = 0;
  for (const reports::LatencyRow& row : run.rows) {
    EXPECT_TRUE(row.error.empty()) << row.error;
    if (!row.needed) continue;
    ++large;
    EXPECT_EQ(row.batch, 3);
    EXPECT_GE(*row.needed, static_cast<int64_t>(3 * one));
    EXPECT_GT(*row.needed, *row.available);
  }
  EXPECT_EQ(large, 2) << "both stages of batch 3";
  EXPECT_EQ(run.rows.size(), 4u);
}

TEST_F(BenchTest, ATimeLimitSkipsWhatItHasNoRoomFor) {
  LatencyOptions options = latency("short");
  options.request.time_limit = 1e-6;
  const BenchOutcome outcome = run_latency(*weights_, *ops_, options);
  EXPECT_FALSE(outcome.complete);
  const reports::LatencyRun run = reports::read_latency_run(outcome.folder);
  EXPECT_EQ(run.rows.size(), 2u * 2 * 2 * 2);
  for (const reports::LatencyRow& row : run.rows) EXPECT_GT(row.predicted.value_or(0), 0);
  for (const reports::CellVerdict& cell : run.cells) EXPECT_EQ(cell.status, "skipped");
}

TEST_F(BenchTest, StoppingKeepsTheRecordValid) {
  std::atomic<bool> stop = true;
  LatencyOptions options = latency("stopped");
  options.stop = &stop;
  EXPECT_THROW(run_latency(*weights_, *ops_, options), Interrupted);
  EXPECT_EQ(reports::read_latency_run(folder_ / "stopped").status, "interrupted");
}

TEST_F(BenchTest, CapacityFindsTheLargestBatchUnderALimit) {
  CapacityOptions options;
  options.request = request("capacity");
  options.request.contexts = {64};
  options.folder = folder_ / "capacity";
  options.largest_batch = 100;
  const uint64_t limit = size_t{140} << 20;
  MemoryLimit tight(*ops_, limit);
  const BenchOutcome outcome = run_capacity(*weights_, tight, options);
  EXPECT_TRUE(outcome.complete);
  const reports::LatencyRun run = reports::read_latency_run(outcome.folder);
  ASSERT_EQ(run.rows.size(), 4u);
  for (const reports::LatencyRow& row : run.rows) {
    ASSERT_TRUE(row.measured()) << row.error;
    EXPECT_LE(row.batch, row.bound_batch);
    EXPECT_GE(row.batch, 1);
    EXPECT_LE(row.batch * row.cache_bytes.total, static_cast<int64_t>(limit));
    ASSERT_FALSE(row.attempts.empty());
  }
}

TEST(GpuMonitorTest, SaysWhenThereIsNoGpu) {
  const GpuMonitor monitor;
  if (monitor.absent().empty()) {
    EXPECT_FALSE(monitor.facts().name.empty());
  } else {
    EXPECT_THAT(monitor.absent(), HasSubstr("NVML"));
    EXPECT_FALSE(monitor.read().sm_mhz);
    EXPECT_TRUE(monitor.facts().name.empty());
  }
}

}  // namespace
}  // namespace kvg
