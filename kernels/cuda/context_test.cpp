#include "kernels/cuda/context.h"

#include "base/error.h"
#include "base/random.h"
#include "kernels/cuda/fused/swiglu.h"
#include "kernels/cuda/gpu_test.h"
#include "kernels/decode.h"

#include <cstddef>
#include <stdexcept>
#include <string>

namespace kvg::cuda {
namespace {

const PhaseWork& of(const PhaseLedger& ledger, Phase phase) {
  return ledger[static_cast<size_t>(phase)];
}

// Some work on the context's stream: SwiGLU of a few rows.
class Work {
 public:
  static constexpr size_t kRows = 7, kWidth = 64;

  explicit Work(CudaContext& context)
      : context_(context), in_(2 * kRows * kWidth * 4), out_(kRows * kWidth * 4) {}

  void set_inputs(uint64_t seed) {
    in_.upload(random_values(2 * kRows * kWidth, DType::f32, seed), DType::f32);
    KVG_CHECK_CUDA(cudaDeviceSynchronize());
  }
  void poison() {
    KVG_CHECK_CUDA(cudaMemset(out_.data(), 0xff, kRows * kWidth * 4));
    KVG_CHECK_CUDA(cudaDeviceSynchronize());
  }
  void run() const {
    const SwigluLaunch work{in_.data(), out_.data(), kRows, kWidth, DType::f32};
    KVG_CHECK_CUDA(launch(work, context_.stream()));
    context_.declare(bytes(work), flops(work));
  }
  std::vector<double> result() const {
    context_.synchronize();
    return out_.download(kRows * kWidth, DType::f32);
  }
  std::vector<double> eager() {
    poison();
    run();
    return result();
  }
  static constexpr int64_t kBytes = 3 * 7 * 64 * 4;
  static constexpr int64_t kFlops = 5 * 7 * 64;

 private:
  CudaContext& context_;
  TestBuffer in_, out_;
};

class ContextTest : public GpuTest {};

TEST_F(ContextTest, KnowsItsDevice) {
  const CudaContext context;
  EXPECT_EQ(context.device().index, 0);
  EXPECT_GE(context.compute_capability(), 80);
  EXPECT_GT(context.available_memory(), 0);
  EXPECT_LT(context.available_memory(), static_cast<uint64_t>(context.device().memory_bytes));
}

TEST_F(ContextTest, RefusesADeviceThatIsNotThere) { EXPECT_THROW(CudaContext(99), Error); }

TEST_F(ContextTest, AllocatesZeroedAlignedMemoryAgainAndAgain) {
  CudaContext context;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const std::unique_ptr<Buffer> buffer = context.allocate(1001);
    EXPECT_EQ(buffer->bytes(), 1001);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0);
    std::vector<uint8_t> host(1001, 1);
    context.synchronize();
    KVG_CHECK_CUDA(cudaMemcpy(host.data(), buffer->data(), 1001, cudaMemcpyDeviceToHost));
    EXPECT_EQ(host, std::vector<uint8_t>(1001, 0));
    // Dirty it for the next round, which is likely to get the same memory.
    KVG_CHECK_CUDA(cudaMemset(buffer->data(), 0xff, 1001));
    KVG_CHECK_CUDA(cudaDeviceSynchronize());
  }
}

TEST_F(ContextTest, SaysHowMuchMemoryWasMissingAndGoesOn) {
  CudaContext context;
  try {
    context.allocate(size_t{1} << 50);
    FAIL() << "a petabyte was granted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("1125.9 TB needed"), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(context.scratch(size_t{1} << 50), Error);
  Work work(context);
  work.set_inputs(1);
  EXPECT_FALSE(std::isnan(work.eager()[0]));
}

TEST_F(ContextTest, FreedMemoryIsAvailableAgain) {
  CudaContext context;
  constexpr size_t kBytes = size_t{256} << 20;
  const uint64_t before = context.available_memory();
  {
    const std::unique_ptr<Buffer> buffer = context.allocate(kBytes);
    EXPECT_LE(context.available_memory() + kBytes, before + (size_t{64} << 20));
  }
  context.synchronize();
  EXPECT_GE(context.available_memory() + (size_t{64} << 20), before);
}

TEST_F(ContextTest, CarriesTablesToTheDevice) {
  CudaContext context;
  const std::vector<int64_t> rows = {5, -1, int64_t{1} << 40};
  const DeviceTable table = context.table(std::span<const int64_t>(rows));
  ASSERT_EQ(table.bytes(), 24);
  std::vector<int64_t> back(3);
  context.synchronize();
  KVG_CHECK_CUDA(cudaMemcpy(back.data(), table.as<int64_t>(), 24, cudaMemcpyDeviceToHost));
  EXPECT_EQ(back, rows);
  EXPECT_EQ(context.table(std::span<const int64_t>()).bytes(), 0);
}

// Several times as much as is kept ready, in tables of all sizes.
TEST_F(ContextTest, ManyTablesInFlight) {
  CudaContext context;
  Random random(3);
  std::vector<int32_t> expected;
  const std::unique_ptr<Buffer> copies = context.allocate(size_t{80} << 20);
  for (int i = 0; i < 100; ++i) {
    // The largest get memory of their own.
    std::vector<int32_t> rows(1 + random.below(i % 20 == 7 ? 1'500'000 : 100'000));
    for (int32_t& row : rows) row = static_cast<int32_t>(random.next_u64());
    ASSERT_LE(4 * (expected.size() + rows.size()), copies->bytes());
    const DeviceTable table = context.table(std::span<const int32_t>(rows));
    KVG_CHECK_CUDA(cudaMemcpyAsync(static_cast<int32_t*>(copies->data()) + expected.size(),
                                   table.as<int32_t>(), table.bytes(), cudaMemcpyDeviceToDevice,
                                   context.stream()));
    expected.insert(expected.end(), rows.begin(), rows.end());
  }
  context.synchronize();
  std::vector<int32_t> back(expected.size());
  KVG_CHECK_CUDA(cudaMemcpy(back.data(), copies->data(), 4 * back.size(), cudaMemcpyDeviceToHost));
  EXPECT_EQ(back, expected);
}

TEST_F(ContextTest, RecordsWithoutRunningAndReplaysOnNewInputs) {
  CudaContext context;
  Work work(context);
  work.poison();
  const std::unique_ptr<Recording> recording = context.record([&] {
    EXPECT_TRUE(context.recording());
    work.run();
  });
  EXPECT_FALSE(context.recording());
  EXPECT_TRUE(std::isnan(work.result()[0])) << "ran while it was recorded";
  for (const uint64_t seed : {11, 12}) {
    work.set_inputs(seed);
    const std::vector<double> expected = work.eager();
    work.poison();
    recording->replay();
    EXPECT_EQ(work.result(), expected);
  }
}

TEST_F(ContextTest, AStepThatThrowsLeavesTheContextUsable) {
  CudaContext context;
  Work work(context);
  work.set_inputs(3);
  const std::vector<double> expected = work.eager();
  EXPECT_THROW(context.record([&] {
    work.run();
    throw std::runtime_error("in the middle");
  }),
               std::runtime_error);
  EXPECT_THROW(context.record([&] { context.scratch(64); }), std::logic_error);
  EXPECT_THROW(context.record([&] { context.allocate(64); }), std::logic_error);
  EXPECT_THROW(context.record([&] { context.synchronize(); }), CudaError);
  // The capture is broken although no call of the step said so.
  EXPECT_THROW(context.record([&] { (void)cudaStreamSynchronize(context.stream()); }), CudaError);
  EXPECT_FALSE(context.recording());
  EXPECT_EQ(work.eager(), expected);
  const std::unique_ptr<Recording> recording = context.record([&] { work.run(); });
  work.poison();
  recording->replay();
  EXPECT_EQ(work.result(), expected);
}

TEST_F(ContextTest, LedgerCountsEveryLaunchAndTimesCoveredLayers) {
  CudaContext context;
  Work work(context);
  work.set_inputs(4);
  context.trace({.times = true, .stride = 2, .offset = 1});
  const auto pass = [&] {
    context.phase(Phase::embed, -1);
    work.run();
    for (int layer = 0; layer < 5; ++layer) {
      context.phase(Phase::qkv, layer);
      work.run();
      context.phase(Phase::mlp, layer);
      work.run();
      work.run();
    }
    context.phase(Phase::sample, -1);
  };
  const auto expect_pass = [&](const PhaseLedger& ledger) {
    EXPECT_EQ(of(ledger, Phase::embed).launches, 1);
    EXPECT_EQ(of(ledger, Phase::embed).intervals, 0) << "layer -1 belongs to offset 0";
    EXPECT_EQ(of(ledger, Phase::qkv).launches, 5);
    EXPECT_EQ(of(ledger, Phase::qkv).intervals, 2) << "layers 1 and 3";
    EXPECT_GT(of(ledger, Phase::qkv).seconds, 0);
    EXPECT_EQ(of(ledger, Phase::mlp).launches, 10);
    EXPECT_EQ(of(ledger, Phase::mlp).bytes, 10 * Work::kBytes);
    EXPECT_EQ(of(ledger, Phase::mlp).flops, 10 * Work::kFlops);
    EXPECT_EQ(of(ledger, Phase::mlp).intervals, 2);
    EXPECT_EQ(of(ledger, Phase::sample).launches, 0);
  };
  pass();
  expect_pass(context.take_ledger());
  EXPECT_EQ(of(context.take_ledger(), Phase::qkv).launches, 0) << "taken";

  const std::unique_ptr<Recording> recording = context.record(pass);
  EXPECT_EQ(of(context.take_ledger(), Phase::qkv).launches, 0) << "recorded, but not replayed";
  for (int replay = 0; replay < 3; ++replay) recording->replay();
  expect_pass(context.take_ledger());
  recording->replay();
  expect_pass(context.take_ledger());
}

TEST_F(ContextTest, ARecordingIsTimedIfItWasRecordedSo) {
  CudaContext context;
  Work work(context);
  const auto step = [&] {
    context.phase(Phase::head, -1);
    work.run();
  };
  const std::unique_ptr<Recording> plain = context.record(step);
  context.trace({.times = true});
  const std::unique_ptr<Recording> timed = context.record(step);
  plain->replay();
  EXPECT_EQ(of(context.take_ledger(), Phase::head).intervals, 0);
  context.trace({});
  timed->replay();
  plain->replay();
  const PhaseLedger both = context.take_ledger();
  EXPECT_EQ(of(both, Phase::head).intervals, 1);
  EXPECT_EQ(of(both, Phase::head).launches, 2);
}

TEST_F(ContextTest, MeasuresTheCostOfTiming) {
  CudaContext context;
  EXPECT_GT(context.empty_interval_seconds(), 0);
  EXPECT_EQ(context.empty_interval_seconds(), context.empty_interval_seconds()) << "kept";
}

TEST_F(ContextTest, RangesChangeNoResult) {
  CudaContext context;
  Work work(context);
  work.set_inputs(6);
  const std::vector<double> expected = work.eager();
  context.profile(true);
  const std::unique_ptr<Recording> recording = context.record([&] {
    context.phase(Phase::mlp, 2);
    work.run();
  });
  work.poison();
  recording->replay();
  EXPECT_EQ(work.result(), expected);
  context.phase(Phase::head, -1);
  context.profile(false);
  EXPECT_EQ(work.eager(), expected);
}

TEST_F(ContextTest, CodecsThatStoreAlikeShareADescriptor) {
  CudaContext context;
  const auto fp8 = Codec::make({.kind = CodecKind::fp8, .fp8_scale = Fp8Scale::vector}, 64);
  const auto same = Codec::make(fp8->spec(), 64);
  const auto wider = Codec::make(fp8->spec(), 128);
  const DeviceCodec& first = context.codec(*fp8, 0, 2);
  EXPECT_EQ(first.kind, CodecKind::fp8);
  EXPECT_EQ(first.fp8_scale, Fp8Scale::vector);
  EXPECT_TRUE(first.scaled);
  EXPECT_FALSE(first.rotates);
  EXPECT_EQ(first.head_dim, 64);
  EXPECT_EQ(first.code_bytes, 64);
  EXPECT_EQ(&context.codec(*same, 31, 8), &first);
  EXPECT_EQ(context.codec(*wider, 0, 2).code_bytes, 128);
}

}  // namespace
}  // namespace kvg::cuda
