#include "kernels/cuda/attention/prefill_plan.h"

#include "base/random.h"
#include "kernels/cuda/attention/prefill_stage.h"
#include "kernels/cuda/attention/table.h"
#include "kernels/reference/attention.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace kvg::cuda {
namespace {

DeviceCodec describe(const Codec& codec) {
  DeviceCodec device;
  device.kind = codec.spec().kind;
  device.rotation = codec.spec().rotation;
  device.seed = codec.spec().seed;
  device.rotates = codec.rotates();
  device.scaled = codec.scale_bytes() > 0;
  return device;
}

AttentionParams params(int streams, int heads, int kv_heads) {
  AttentionParams p;
  p.streams = streams;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.head_dim = 64;
  return p;
}

AttentionGroup group(const Codec& codec, int64_t count, int64_t first_position, int64_t window) {
  AttentionGroup out;
  out.store.k_codec = &codec;
  out.store.v_codec = &codec;
  out.store.capacity = count;
  out.count = count;
  out.first_position = first_position;
  out.window = window;
  return out;
}

class PrefillPlanTest : public ::testing::Test {
 protected:
  std::unique_ptr<Codec> plain_ = Codec::make({CodecKind::bf16}, 64);
};

// Against the slots that the reference reads, row by row.
TEST_F(PrefillPlanTest, WorkIsThatOfTheReadableSlots) {
  Random random(7);
  for (int i = 0; i < 300; ++i) {
    const auto draw = [&](uint64_t n) { return static_cast<int64_t>(random.below(n)); };
    AttentionBlock block{draw(5), 1 + draw(50), draw(100), {}};
    const bool causal = draw(4) != 0;
    block.groups = {group(*plain_, 1 + draw(90), causal ? draw(120) : -1, causal ? draw(40) : 0)};
    AttentionParams p = params(2, 8, 2);
    p.blocks = {&block, 1};
    int64_t visible = 0;
    std::vector<bool> read(static_cast<size_t>(block.groups[0].count));
    for (int64_t row = 0; row < block.rows; ++row) {
      const auto range = reference::readable_slots(block.groups[0], block.first_position + row);
      visible += range.end - range.begin;
      for (int64_t slot = range.begin; slot < range.end; ++slot) {
        read[static_cast<size_t>(slot)] = true;
      }
    }
    EXPECT_EQ(prefill_flops(p), visible * 4 * 2 * 8 * 64) << "case " << i;
    // A causal window reads from its first slot to its last, so all in between.
    const auto distinct = static_cast<int64_t>(std::count(read.begin(), read.end(), true));
    const int64_t rows_bytes = block.rows * (8 * 64 * 2 * (2 + 1) + 8 * 4);
    EXPECT_EQ(prefill_bytes(p), rows_bytes + distinct * 2 * (2 * 64 * 2)) << "case " << i;
  }
}

// Every unit of every block is in one item; those with most slots come first.
TEST_F(PrefillPlanTest, ItemsCoverTheBlocks) {
  const std::vector<AttentionBlock> blocks = {
      {0, 3, 10, {group(*plain_, 200, -1, 0)}},
      {3, 100, 0, {group(*plain_, 100, 0, 0)}},
      {103, 0, 0, {}},
      {103, 9, 0, {}},
  };
  AttentionParams p = params(2, 7, 1);
  p.blocks = blocks;
  const PrefillPlan plan = plan_prefill(p, describe, {128, 7});
  ASSERT_EQ(plan.blocks.size(), 3u);
  std::vector<int64_t> covered(3);
  for (const PrefillItem& item : plan.items) {
    EXPECT_EQ(item.first_unit % 64, 0);
    covered[static_cast<size_t>(item.block)] += 64;
  }
  for (size_t i = 0; i < 3; ++i) {
    const int64_t units = plan.blocks[i].rows * 7;
    EXPECT_EQ(covered[i], (units + 63) / 64 * 64);
  }
  EXPECT_EQ(plan.items.front().block, 0);
  EXPECT_EQ(plan.items.back().block, 2);
  EXPECT_EQ(plan.items[1].block, 1);
  EXPECT_GT(plan.items[1].first_unit, plan.items[9].first_unit);
}

// Groups in a rotated frame first, so that sums end where they are written; equal rotations share a
// number whatever the bits.
TEST_F(PrefillPlanTest, OrdersGroupsByFrame) {
  const auto four = Codec::make({.kind = CodecKind::eden, .bits = 4, .seed = 1}, 64);
  const auto two = Codec::make({.kind = CodecKind::eden, .bits = 2, .seed = 1}, 64);
  const auto other = Codec::make({.kind = CodecKind::eden, .bits = 2, .seed = 2}, 64);
  const std::vector<AttentionBlock> blocks = {
      {0,
       5,
       10,
       {group(*plain_, 10, -1, 0), group(*four, 20, -1, 0), group(*other, 30, -1, 0),
        AttentionGroup{}, group(*two, 40, -1, 0)}}};
  AttentionParams p = params(1, 4, 2);
  p.blocks = blocks;
  const PrefillPlan plan = plan_prefill(p, describe, {64, 2});
  ASSERT_EQ(plan.groups.size(), 4u);
  EXPECT_EQ(plan.groups[0].count, 30);
  EXPECT_EQ(plan.groups[1].count, 20);
  EXPECT_EQ(plan.groups[2].count, 40);
  EXPECT_EQ(plan.groups[3].count, 10);
  EXPECT_EQ(plan.groups[1].v_rotation, plan.groups[2].v_rotation);
  EXPECT_NE(plan.groups[0].v_rotation, plan.groups[1].v_rotation);
  EXPECT_EQ(plan.groups[3].v_rotation, kIdentityFrame);
  EXPECT_TRUE(plan.groups[0].weighed);
  EXPECT_FALSE(plan.groups[3].weighed);
  EXPECT_TRUE(plan.groups[3].plain_k);
}

// f32 slots are decoded once for all blocks that read them, and everything is then rows of one
// range.
TEST_F(PrefillPlanTest, StagesWhatCannotBeCopied) {
  const auto wide = Codec::make({CodecKind::f32}, 64);
  alignas(256) static uint8_t memory[1 << 16];
  auto placed = [&](const Codec& codec, int64_t offset) {
    AttentionGroup g = group(codec, 16, -1, 0);
    g.store.k_codes = memory + offset;
    g.store.v_codes = memory + offset + (1 << 13);
    return g;
  };
  const std::vector<AttentionBlock> blocks = {
      {0, 4, 0, {placed(*wide, 0), placed(*plain_, 1 << 14)}},
      {4, 4, 4, {placed(*wide, 0), placed(*plain_, (1 << 14) + 64)}},  // not a multiple of a row
  };
  AttentionParams p = params(1, 4, 2);
  p.blocks = blocks;
  PrefillPlan plan = plan_prefill(p, describe, {128, 2});
  EXPECT_TRUE(plan.groups[1].copied_k);
  EXPECT_FALSE(plan.groups[0].copied_k || plan.groups[3].copied_v);
  std::vector<PrefillStage> stages = plan_stages(plan, 2, 64, false);
  ASSERT_EQ(stages.size(), 4u);
  constexpr int64_t kBytes = 2 * 16 * 64 * 2;  // heads, slots, columns, bf16
  EXPECT_EQ(staged_bytes(stages, 2, 64), 4 * kBytes);
  PrefillPlan all = plan;
  EXPECT_EQ(plan_stages(all, 2, 64, true).size(), 6u);
  uint8_t* to = memory + (1 << 15);
  ASSERT_TRUE(use_stages(&stages, to, 2, 64, &plan));
  EXPECT_EQ(plan.groups[0].k_codes, to);
  EXPECT_EQ(plan.groups[2].k_codes, to);
  EXPECT_EQ(plan.groups[0].v_codes, to + kBytes);
  EXPECT_EQ(plan.groups[1].k_codes, memory + (1 << 14));
  EXPECT_EQ(plan.groups[3].v_codes, to + 3 * kBytes);
  EXPECT_EQ(stages[1].to, to + kBytes);
}

// Heads of a KV head in sets, each of which has items of its own.
TEST_F(PrefillPlanTest, ItemsOfSomeHeads) {
  const std::vector<AttentionBlock> blocks = {{0, 100, 0, {group(*plain_, 100, 0, 0)}}};
  AttentionParams p = params(2, 12, 2);
  p.blocks = blocks;
  const int unit_heads = dense_unit_heads(6);
  EXPECT_EQ(unit_heads, 2);
  const PrefillPlan plan = plan_prefill(p, describe, {128, unit_heads});
  ASSERT_EQ(plan.items.size(), 4u);
  EXPECT_EQ(plan.items[0].first_unit, 2 * 64);  // two tiles of slots, as the one after it
  EXPECT_EQ(plan.items[3].first_unit, 64);
}

// Blocks of a warpgroup's rows that read the same recent slots become one; whatever is different
// keeps them apart.
TEST_F(PrefillPlanTest, JoinsBlocksThatFollowEachOther) {
  constexpr int64_t kRows = 16, kBefore = 40;
  const auto blocks_of = [&](int64_t count) {
    std::vector<AttentionBlock> blocks;
    for (int64_t i = 0; i < count; ++i) {
      AttentionGroup recent = group(*plain_, kBefore + kRows, 1000 + kRows * i - kBefore, 0);
      recent.store.capacity = 500;
      recent.first_slot = 3 + kRows * i;
      blocks.push_back({5 + kRows * i, kRows, 1000 + kRows * i, {group(*plain_, 64, -1, 0)}});
      if (i != 1) blocks.back().groups.push_back(group(*plain_, 50, -1, 0));
      blocks.back().groups.push_back(recent);
    }
    return blocks;
  };
  AttentionParams p = params(1, 8, 2);
  const auto plan_of = [&](const std::vector<AttentionBlock>& blocks, int joined) {
    p.blocks = blocks;
    return plan_prefill(p, describe, {64 * joined, 4, joined});
  };
  std::vector<AttentionBlock> blocks = blocks_of(7);
  const PrefillPlan plan = plan_of(blocks, 3);
  ASSERT_EQ(plan.blocks.size(), 3u);
  EXPECT_EQ(plan.items.size(), 3u);
  const PrefillBlock& first = plan.blocks[0];
  EXPECT_EQ(first.joined, 3);
  EXPECT_EQ(first.row_begin, 5);
  EXPECT_EQ(first.rows, 3 * kRows);
  EXPECT_EQ(first.own_end[0], 2);
  EXPECT_EQ(first.own_end[1], 3);
  EXPECT_EQ(first.own_end[2], 5);
  ASSERT_EQ(first.group_end, 6);
  const PrefillGroup& shared = plan.groups[5];
  EXPECT_EQ(shared.first_slot, 3);
  EXPECT_EQ(shared.count, kBefore + 3 * kRows);
  EXPECT_EQ(shared.newest, kBefore);
  EXPECT_EQ(shared.step, kRows);
  EXPECT_EQ(plan.blocks[2].joined, 0);
  EXPECT_EQ(plan.blocks[2].rows, kRows);
  EXPECT_EQ(plan_of(blocks, 1).blocks.size(), 7u);

  const auto apart = [&](const auto& change) {
    std::vector<AttentionBlock> changed = blocks_of(2);
    change(changed);
    return plan_of(changed, 2).blocks.size() == 2;
  };
  const std::vector<uint8_t> mask(100, 1);
  using Blocks = std::vector<AttentionBlock>;
  EXPECT_FALSE(apart([](Blocks&) {}));
  EXPECT_FALSE(apart([](Blocks& b) { b[1].rows -= 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[0].rows -= 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].rows += 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].row_begin += 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].first_position += 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].groups.back().first_slot += 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[0].groups.back().count -= 3; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].groups.back().count -= 20; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].groups.back().window = 30; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].groups.back().store.capacity = 70; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[0].groups.front().count = 65; }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].groups.front().first_position = 990; }));
  EXPECT_TRUE(apart([&](Blocks& b) { b[1].groups.back().valid = mask.data(); }));
  EXPECT_FALSE(apart([&](Blocks& b) { b[1].groups.front().valid = mask.data(); }));
  EXPECT_TRUE(apart([](Blocks& b) { b[1].groups.clear(); }));
}

TEST_F(PrefillPlanTest, TableChoosesByShapeAndCapability) {
  EXPECT_EQ(choose_prefill_kernel({80, 64, 1000, true}).launch, launch_prefill_hd64);
  EXPECT_EQ(choose_prefill_kernel({80, 128, 65, false}).launch, launch_prefill_hd128);
  EXPECT_EQ(choose_prefill_kernel({90, 128, 64, false}).launch, launch_prefill_hd128_half);
  EXPECT_EQ(choose_prefill_kernel({90, 64, 1, true}).tile_rows, 64);
  EXPECT_EQ(choose_prefill_kernel({100, 128, 1000, true}).launch, launch_prefill_hd128);
#ifdef KVG_CUDA_SM90A
  EXPECT_EQ(choose_prefill_kernel({90, 128, 1000, true}).launch, launch_prefill_sm90_hd128);
  EXPECT_EQ(choose_prefill_kernel({90, 64, 1000, true}).launch, launch_prefill_sm90_hd64);
  EXPECT_EQ(choose_prefill_kernel({90, 64, 1000, true, false, 0, 33}).launch, launch_prefill_hd64);
  EXPECT_EQ(choose_prefill_kernel({90, 64, 1000, true, false, 1000}).launch,
            launch_prefill_dense_hd64);
  EXPECT_EQ(choose_prefill_kernel({90, 128, 900, true, true, 300}).launch,
            launch_prefill_dense_hd128);
  EXPECT_EQ(choose_prefill_kernel({90, 128, 300, true, true, 100}).launch,
            launch_prefill_sm90_hd128);
#endif
  EXPECT_THROW(choose_prefill_kernel({90, 96, 64, false}), std::logic_error);
  EXPECT_THROW(choose_prefill_kernel({75, 64, 64, false}), std::logic_error);
  EXPECT_THROW(choose_prefill_kernel({90, 64, 64, true, true, 0, 33}), std::logic_error);
}

}  // namespace
}  // namespace kvg::cuda
