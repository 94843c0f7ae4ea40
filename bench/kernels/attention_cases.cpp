#include "bench/kernels/attention_cases.h"

#include "base/error.h"
#include "bench/kernels/banks.h"
#include "model/cache/landmark_settings.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace kvg {

namespace {

constexpr int64_t kBlock = 256, kBank = 64;

AttentionCase with_tensors(Tensors& t, const AttentionGeometry& g, int64_t rows) {
  AttentionCase c;
  AttentionParams& p = c.params;
  p.q = t.random(DType::bf16, {rows, g.streams, g.heads, g.head_dim}, 3);
  p.streams = g.streams;
  p.heads = g.heads;
  p.kv_heads = g.kv_heads;
  p.head_dim = g.head_dim;
  p.scale = 1 / std::sqrt(static_cast<double>(g.head_dim));
  if (g.streams == 2) p.lambda = t.random(DType::f32, {rows, g.heads}, 0.3, 0.4);
  p.out = t.output(DType::bf16, {rows, g.heads, g.head_dim});
  return c;
}

SlotStore filled(Tensors& t, const AttentionGeometry& g, const Codec& codec, int64_t slots) {
  const SlotStore store = make_store(t, codec, g.kv_heads, slots);
  t.fill(store, g.kv_heads, 0, slots);
  return store;
}

AttentionGroup bank(Tensors& t, const AttentionGeometry& g, const Codec& codec) {
  AttentionGroup group;
  group.store = filled(t, g, codec, kBank);
  group.count = kBank;
  const Tensor valid = t.tokens(std::vector<int32_t>(kBank / 4, 0x01010101));
  group.valid = static_cast<const uint8_t*>(valid.data);
  return group;
}

}  // namespace

AttentionCase dense_causal(Tensors& t, const AttentionGeometry& g, const Codec& codec,
                           int64_t rows) {
  AttentionCase c = with_tensors(t, g, rows);
  AttentionGroup group;
  group.store = filled(t, g, codec, rows);
  group.count = rows;
  group.first_position = 0;
  c.blocks.push_back({0, rows, 0, {group}});
  return c;
}

AttentionCase block_plan(Tensors& t, const AttentionGeometry& g, const Codec& codec, int64_t rows) {
  AttentionCase c = with_tensors(t, g, rows);
  const SlotStore sequence = filled(t, g, codec, rows);
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    AttentionBlock block{begin, std::min(kBlock, rows - begin), begin, {}};
    if (begin > 0) {
      block.groups.push_back(bank(t, g, codec));
      block.groups.push_back(bank(t, g, codec));
      const Tensor weights = t.tokens(std::vector<int32_t>(kBank, std::bit_cast<int32_t>(0.5f)));
      block.groups.back().log_weight = static_cast<const float*>(weights.data);
    }
    AttentionGroup recent;
    recent.store = sequence;
    recent.first_position = std::max<int64_t>(0, begin - kBlock);
    recent.first_slot = recent.first_position;
    recent.count = begin + block.rows - recent.first_position;
    block.groups.push_back(recent);
    c.blocks.push_back(std::move(block));
  }
  return c;
}

AttentionCase landmark_plan_case(Tensors& t, const AttentionGeometry& g, const Codec& codec,
                                 int64_t rows, int64_t block) {
  KVG_CHECK(g.head_dim == 128 && g.kv_heads == kBenchKvHeads, "the geometry of the banks");
  AttentionCase c = with_tensors(t, g, rows);
  const SlotStore sequence = filled(t, g, codec, rows);
  LandmarkSettings settings;
  settings.block = block;
  std::vector<AttentionGroup> banks;
  int64_t snapshot_of = 0;  // tokens that the banks have taken in
  for (const LandmarkBlock& plan : landmark_blocks(settings, 0, rows)) {
    if (plan.visible > snapshot_of) {
      const Codec& bf16 = *bank_codecs().exact;
      banks = {bank(t, g, bf16), bank(t, g, bf16)};
      snapshot_of = plan.visible;
    }
    AttentionGroup recent;
    recent.store = sequence;
    recent.first_position = plan.visible;
    recent.first_slot = plan.visible;
    recent.count = plan.end - plan.visible;
    c.blocks.push_back({plan.begin, plan.end - plan.begin, plan.begin, banks});
    c.blocks.back().groups.push_back(recent);
  }
  return c;
}

}  // namespace kvg
