#include "base/error.h"
#include "kernels/cuda/attention/decode_test_util.h"

#include <cmath>
#include <utility>

namespace kvg::cuda {
namespace {

CodecSpec eden(int bits) {
  CodecSpec spec;
  spec.kind = CodecKind::eden;
  spec.bits = bits;
  spec.seed = 5;
  return spec;
}

// Two layers, some steps, against the reference.
void expect_matches(const DecodeCase& test, int steps) {
  CudaContext context;
  DecodeScene scene(context, test, mix_seed({name_seed(test.name)}));
  for (int step = 0; step < steps; ++step) {
    for (int32_t layer = 0; layer < DecodeScene::kLayers; ++layer) {
      scene.draw_inputs(mix_seed({11, static_cast<uint64_t>(step), static_cast<uint64_t>(layer)}));
      decode_attention(context, scene.device_params(layer));
      const std::vector<double> out = scene.result();
      EXPECT_LT(relative_norm(out, scene.expected(layer)), 1e-2)
          << test.name << " step " << step << " layer " << layer;
    }
    scene.advance();
  }
  EXPECT_LT(scene.store_error(false), 1e-3) << test.name;
}

class DecodeAttentionTest : public GpuTest {};

// The positions at which something begins, ends or wraps around, in ragged batches.
TEST_F(DecodeAttentionTest, EveryRetentionMatchesTheReference) {
  const std::vector<std::vector<int64_t>> batches = {
      {0}, {1}, {127}, {129, 1000, 4}, {0, 1, 63, 64, 97, 130, 131, 500}};
  for (const Kept kept : {Kept::full, Kept::window, Kept::sinks, Kept::landmark, Kept::random}) {
    for (const auto& positions : batches) {
      DecodeCase test;
      test.name = "retention " + std::to_string(static_cast<int>(kept)) + " batch " +
                  std::to_string(positions.size()) + " at " + std::to_string(positions[0]);
      test.kept = kept;
      test.positions = positions;
      expect_matches(test, 3);
    }
  }
}

TEST_F(DecodeAttentionTest, EveryCodecMatchesTheReference) {
  int index = 0;
  for (const CodecSpec& spec : decode_test_codecs()) {
    for (const Kept kept : {Kept::full, Kept::sinks}) {
      for (const int head_dim : {64, 128}) {
        DecodeCase test;
        test.name = "codec " + std::to_string(index);
        test.kept = kept;
        test.window_codec = test.bank_codec = spec;
        test.head_dim = head_dim;
        test.positions = {200, 3};
        expect_matches(test, 2);
      }
    }
    ++index;
  }
}

TEST_F(DecodeAttentionTest, WindowAndBankMayDifferInCodec) {
  CodecSpec fp8;
  fp8.kind = CodecKind::fp8;
  CodecSpec int8;
  int8.kind = CodecKind::int8;
  for (const Kept kept : {Kept::sinks, Kept::landmark, Kept::random}) {
    for (const auto& [window, bank] : {std::pair{CodecSpec(), eden(4)},
                                       {eden(3), CodecSpec()},
                                       {fp8, eden(2)},
                                       {int8, fp8},
                                       {CodecSpec(), int8}}) {
      DecodeCase test;
      test.name = "mixed " + std::to_string(static_cast<int>(kept));
      test.kept = kept;
      test.window_codec = window;
      test.bank_codec = bank;
      test.positions = {400, 131, 17};
      expect_matches(test, 2);
    }
  }
}

TEST_F(DecodeAttentionTest, EveryShapeOfHeadsMatchesTheReference) {
  for (const int head_dim : {64, 128}) {
    for (const auto& [group, streams] : {std::pair{1, 1},
                                         {1, 2},
                                         {2, 1},
                                         {2, 2},
                                         {4, 1},
                                         {3, 2},
                                         {8, 1},
                                         {8, 2},
                                         {16, 1},
                                         {12, 2},
                                         {71, 1}}) {
      DecodeCase test;
      test.name = "heads " + std::to_string(group) + " x " + std::to_string(streams);
      test.kept = Kept::sinks;
      test.head_dim = head_dim;
      test.group = group;
      test.streams = streams;
      test.head_norm = group % 2 == 0;
      test.positions = {140, 2};
      expect_matches(test, 2);
    }
  }
}

// A window that gives up several tokens at a time, over a whole round of the ring.
TEST_F(DecodeAttentionTest, StepsGoAroundTheRing) {
  for (const Kept kept : {Kept::window, Kept::landmark, Kept::random}) {
    DecodeCase test;
    test.name = "ring";
    test.kept = kept;
    test.window = 16;
    test.block = 5;
    test.head_dim = 64;
    test.positions = {0, 14, 77};
    expect_matches(test, static_cast<int>(DecodeScene::kSteps));
  }
}

// From one split of many tiles, which fills every stage of the pipeline, to one of each tile.
TEST_F(DecodeAttentionTest, AnyNumberOfSplitsMatchesTheReference) {
  for (const CodecSpec& codec : {CodecSpec(), eden(4)}) {
    for (const int head_dim : {64, 128}) {
      DecodeCase test;
      test.name = "splits";
      test.kept = Kept::landmark;
      test.window = 900;
      test.head_dim = head_dim;
      test.window_codec = codec;
      test.bank_codec = codec.kind == CodecKind::eden ? eden(3) : codec;
      test.positions = {950, 700};
      CudaContext context;
      DecodeScene scene(context, test, 3);
      scene.draw_inputs(4);
      DecodeAttentionLaunch params = decode_attention_launch(scene.device_params(1));
      const std::vector<double> expected = scene.expected(1);
      const int32_t most = params.grid.splits;
      EXPECT_GE(most, 16);
      for (int32_t splits = 1; splits <= most; ++splits) {
        params.grid.splits = splits;
        scene.poison_output();
        KVG_CHECK_CUDA(launch(params, context.stream()));
        EXPECT_LT(relative_norm(scene.result(), expected), 1e-2) << splits << " splits";
      }
    }
  }
}

std::vector<CodecSpec> streamed_codecs() {
  std::vector<CodecSpec> specs = {eden(2), eden(4), CodecSpec(), CodecSpec(), CodecSpec()};
  specs[2].kind = specs[3].kind = CodecKind::fp8;
  specs[3].fp8_scale = Fp8Scale::vector;
  specs[4].kind = CodecKind::int8;
  return specs;
}

// Caches of one dense codec have a kernel of their own: several of its steps, ends within one,
// rings that wrap around within one, and any number of splits.
TEST_F(DecodeAttentionTest, StreamedCodecsMatchTheReference) {
  for (const CodecSpec& codec : streamed_codecs()) {
    for (const Kept kept : {Kept::full, Kept::window, Kept::sinks}) {
      for (const auto& [head_dim, group] : {std::pair{64, 3}, {64, 8}, {128, 4}, {128, 8}}) {
        DecodeCase test;
        test.name = "streamed";
        test.kept = kept;
        test.window = kept == Kept::full ? 0 : 1111;
        test.head_dim = head_dim;
        test.group = group;
        test.window_codec = test.bank_codec = codec;
        test.positions = {1800, 700, 1119, 31};
        CudaContext context;
        DecodeScene scene(context, test, 3);
        scene.draw_inputs(4);
        DecodeAttentionLaunch params = decode_attention_launch(scene.device_params(1));
        EXPECT_TRUE(params.kernel != DecodeKernel::plain && params.kernel != DecodeKernel::mixed);
        const std::vector<double> expected = scene.expected(1);
        const int32_t most = params.grid.splits;
        for (int32_t splits = 1; splits <= most; splits += 3) {
          params.grid.splits = splits;
          params.grid.clustered = params.grid.clustered && splits <= kMostInCluster;
          scene.poison_output();
          KVG_CHECK_CUDA(launch(params, context.stream()));
          EXPECT_LT(relative_norm(scene.result(), expected), 1e-2) << splits << " splits";
        }
      }
    }
  }
}

// What is stored as NaN is read as NaN, and nothing else is.
TEST_F(DecodeAttentionTest, NanIsNotHidden) {
  for (const CodecSpec& codec : streamed_codecs()) {
    for (const int head_dim : {64, 128}) {
      DecodeCase test;
      test.name = "nan";
      test.head_dim = head_dim;
      test.window_codec = codec;
      test.positions = {300, 20};
      test.streams = 1;
      test.head_norm = false;
      CudaContext context;
      DecodeScene scene(context, test, 6);
      scene.draw_inputs(7);
      scene.set_value(3, std::nan(""));
      decode_attention(context, scene.device_params(0));
      const std::vector<double> out = scene.result();
      const std::vector<double> expected = scene.expected(0);
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_EQ(std::isnan(out[i]), std::isnan(expected[i])) << i;
      }
      EXPECT_TRUE(std::isnan(out[3]));
    }
  }
}

// The same launches, repeated and recorded, at positions that only the device knows.
TEST_F(DecodeAttentionTest, ReplayEqualsEagerBitForBit) {
  for (const Kept kept : {Kept::full, Kept::sinks, Kept::landmark, Kept::random}) {
    DecodeCase test;
    test.name = "replay";
    test.kept = kept;
    test.bank_codec = eden(4);
    test.positions = {0, 200, 98};
    CudaContext context;
    DecodeScene eager(context, test, 8);
    DecodeScene replayed(context, test, 8);
    const DecodeAttentionParams recorded = replayed.device_params(1);
    const auto recording = context.record([&] { decode_attention(context, recorded); });
    for (int step = 0; step < 5; ++step) {
      const auto seed = static_cast<uint64_t>(step);
      eager.draw_inputs(seed);
      replayed.draw_inputs(seed);
      decode_attention(context, eager.device_params(1));
      recording->replay();
      context.synchronize();
      EXPECT_EQ(eager.result_bytes(), replayed.result_bytes()) << "step " << step;
      const std::vector<uint8_t> first = eager.result_bytes();
      eager.poison_output();
      decode_attention(context, eager.device_params(1));
      context.synchronize();
      EXPECT_EQ(eager.result_bytes(), first) << "repeated, step " << step;
      eager.advance();
      replayed.advance();
    }
    EXPECT_EQ(eager.cache_bytes(), replayed.cache_bytes());
  }
}

TEST_F(DecodeAttentionTest, DeclaresWhatItReads) {
  DecodeCase test;
  test.name = "declared";
  test.kept = Kept::window;
  test.positions = {10, 1000};
  CudaContext context;
  DecodeScene scene(context, test, 1);
  scene.draw_inputs(1);
  context.phase(Phase::attention, 0);
  context.trace({true});
  context.phase(Phase::attention, 0);
  decode_attention(context, scene.device_params(0));
  const PhaseWork work = context.take_ledger()[static_cast<size_t>(Phase::attention)];
  const int64_t slots = 11 + 130;
  EXPECT_EQ(work.flops, 4 * slots * 2 * 8 * 128);
  // K and V of every slot; the new token's rows; two streams of queries and the output.
  EXPECT_EQ(work.bytes, slots * 2 * 512 + 2 * 2 * 512 + 2 * 3 * 8 * 256);
}

TEST_F(DecodeAttentionTest, RefusesWhatItCannotServe) {
  CudaContext context;
  DecodePlan plan;
  plan.sequences = plan.layers = 1;
  plan.max_tokens = 8;
  plan.heads = plan.kv_heads = 1;
  plan.head_dim = 96;
  DecodeCache cache;
  cache.recent.capacity = 8;
  EXPECT_THROW(CudaDecodeState(context, plan, {cache}), Error);
}

TEST(DecodeLaunchTest, RefusesShapesItCannotServe) {
  DecodeAttentionLaunch good;
  good.grid = {8, 1, 1, false};
  good.sequences = good.heads = good.kv_heads = 1;
  good.head_dim = 64;
  for (int fault = 0; fault < 6; ++fault) {
    DecodeAttentionLaunch bad = good;
    if (fault == 0) bad.head_dim = 96;
    if (fault == 1) bad.streams = 3;
    if (fault == 2) bad.grid.splits = 0;
    if (fault == 3) bad.heads = 9;  // more than the block's rows
    if (fault == 4) bad.grid = {8, 1, 9, true};
    if (fault == 5) bad.kernel = DecodeKernel::bank;
    EXPECT_EQ(launch(bad, nullptr), cudaErrorInvalidValue) << fault;
  }
}

TEST(DecodeSplitTest, CoversEverySlotOnce) {
  DecodeSlots slots;
  slots.sinks = 4;
  slots.window = 300;
  slots.block = 16;
  slots.bank = DecodeBank::random;
  slots.random = 100;
  for (const int32_t position : {0, 3, 4, 63, 64, 200, 303, 304, 305, 1000, 100000}) {
    const DecodeCounts counts = decode_counts(slots, position);
    for (int32_t splits = 1; splits < 12; ++splits) {
      DecodeCounts covered;
      const int32_t used = decode_split(counts, splits, 0).used;
      EXPECT_LE(used, splits);
      for (int32_t index = 0; index < splits; ++index) {
        const DecodeSplit split = decode_split(counts, splits, index);
        EXPECT_EQ(split.used, used);
        EXPECT_EQ(split.end > split.begin, index < used);
        for (int g = 0; g < kDecodeGroups; ++g) {
          const auto group = static_cast<DecodeGroup>(g);
          const DecodeSegment segment = decode_segment(counts, split, group);
          if (segment.empty()) continue;
          EXPECT_EQ(segment.group, group);
          EXPECT_EQ(segment.begin, covered[group]);
          EXPECT_EQ(segment.begin % kDecodeTile, 0);
          covered[group] = segment.end;
        }
      }
      for (int g = 0; g < kDecodeGroups; ++g) EXPECT_EQ(covered.of[g], counts.of[g]);
    }
  }
}

TEST(DecodeSplitTest, CountsAreThoseOfThePlan) {
  DecodePlan plan;
  plan.sinks = 3;
  plan.window = 40;
  plan.block = 7;
  DecodeSlots slots;
  slots.sinks = 3;
  slots.window = 40;
  slots.block = 7;
  for (int32_t position = 0; position < 200; ++position) {
    EXPECT_EQ(slots.first_recent(position), plan.first_recent(position));
    const DecodeCounts counts = decode_counts(slots, position);
    EXPECT_EQ(counts[DecodeGroup::sinks], std::min(3, position + 1));
    EXPECT_EQ(counts[DecodeGroup::recent],
              position < 3 ? 0 : position + 1 - plan.first_recent(position));
  }
}

}  // namespace
}  // namespace kvg::cuda
