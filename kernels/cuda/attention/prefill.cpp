#include "kernels/cuda/attention/prefill.h"

#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_plan.h"
#include "kernels/cuda/attention/prefill_stage.h"
#include "kernels/cuda/attention/table.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/table_buffer.h"
#include "kernels/ops_check.h"

#include <algorithm>
#include <cstddef>
#include <numbers>
#include <utility>
#include <vector>

namespace kvg::cuda {

namespace {

bool is_unrotated(const Codec& codec) {
  const CodecKind kind = codec.spec().kind;
  return (kind == CodecKind::bf16 || kind == CodecKind::f32) && codec.scale_bytes() == 0;
}

// The frame of queries that all groups read; -1: they differ.
int one_frame(const AttentionParams& p) {
  int frame = 0;
  bool first = true;
  for (const AttentionBlock& block : p.blocks) {
    for (const AttentionGroup& group : block.groups) {
      if (group.count == 0) continue;
      if (!first && group.query_frame != frame) return -1;
      frame = group.query_frame;
      first = false;
    }
  }
  return frame;
}

bool is_dense(const AttentionParams& p) {
  return p.blocks.size() <= kMostDenseBlocks &&
         std::ranges::all_of(p.blocks, [](const AttentionBlock& block) {
           if (block.rows == 0) return true;
           const auto empty = [](const AttentionGroup& group) { return group.count == 0; };
           const auto read = std::ranges::find_if_not(block.groups, empty);
           if (read == block.groups.end() || !std::all_of(read + 1, block.groups.end(), empty)) {
             return false;
           }
           return read->valid == nullptr && read->log_weight == nullptr &&
                  read->first_slot + read->count <= read->store.capacity;
         });
}

// `frame`: one_frame(p).
PrefillCase describe(const CudaContext& context, const AttentionParams& p, int frame) {
  PrefillCase wanted;
  wanted.compute_capability = context.compute_capability();
  wanted.head_dim = p.head_dim;
  wanted.unrotated = frame >= 0;
  wanted.log_sum = static_cast<bool>(p.log_sum);
  for (const AttentionBlock& block : p.blocks) {
    const int64_t rows = block.rows * (p.heads / p.kv_heads) * p.streams;
    wanted.block_rows = std::max(wanted.block_rows, rows);
    wanted.groups = std::max(wanted.groups, std::ssize(block.groups));
    for (const AttentionGroup& group : block.groups) {
      wanted.unrotated =
          wanted.unrotated && (group.count == 0 || (is_unrotated(*group.store.k_codec) &&
                                                    is_unrotated(*group.store.v_codec)));
    }
  }
  if (is_dense(p)) {
    const int group_heads = p.heads / p.kv_heads;
    wanted.dense_rows = wanted.block_rows / group_heads * dense_unit_heads(group_heads);
  }
  return wanted;
}

PrefillLaunch describe_launch(const AttentionParams& p) {
  PrefillLaunch launch;
  launch.q = p.q.data;
  launch.lambda = static_cast<const float*>(p.lambda.data);
  launch.head_norm = p.head_norm.data;
  launch.out = p.out.data;
  launch.log_sum = static_cast<float*>(p.log_sum.data);
  launch.rows = p.out.size(0);
  launch.streams = p.streams;
  launch.heads = p.heads;
  launch.kv_heads = p.kv_heads;
  launch.head_dim = p.head_dim;
  launch.layer = p.layer;
  launch.scale_log2 = static_cast<float>(p.scale * std::numbers::log2e);
  launch.head_norm_eps = static_cast<float>(p.head_norm_eps);
  return launch;
}

}  // namespace

void prefill_attention(CudaContext& context, const AttentionParams& p) {
  check(p, DType::bf16);
  KVG_CHECK(p.scale > 0, "attention: scale");
  KVG_CHECK(p.out.size(0) * p.streams * p.heads < int64_t{1} << 31, "attention: rows");
  const int frame = one_frame(p);
  const PrefillKernel& kernel = choose_prefill_kernel(describe(context, p, frame));
  const int group_heads = p.heads / p.kv_heads;
  const int unit_heads = kernel.dense ? dense_unit_heads(group_heads) : group_heads;
  PrefillPlan plan =
      plan_prefill(p, [&](const Codec& codec) { return context.codec(codec, p.layer, p.kv_heads); },
                   {kernel.tile_rows, unit_heads, kernel.joined});
  if (plan.items.empty()) return;
  std::vector<PrefillStage> stages;
  Scratch staged;
  for (const bool all : {false, true}) {
    if (!kernel.copies) break;
    stages = plan_stages(plan, p.kv_heads, p.head_dim, all);
    if (stages.empty()) break;
    PrefillPlan changed = plan;
    staged = context.scratch(static_cast<size_t>(staged_bytes(stages, p.kv_heads, p.head_dim)));
    const bool found = use_stages(&stages, staged.as<uint8_t>(), p.kv_heads, p.head_dim, &changed);
    KVG_CHECK(found || !all, "attention: slots of one range");
    if (!found) continue;
    plan = std::move(changed);
    break;
  }
  TableBuffer tables;
  const size_t stage_table = tables.add(stages);
  const size_t codecs = tables.add(plan.codecs);
  const size_t groups = tables.add(plan.groups);
  const size_t blocks = tables.add(plan.blocks);
  const size_t items = tables.add(plan.items);
  const DeviceTable memory = context.table(tables.bytes());
  const auto* base = memory.as<std::byte>();
  PrefillLaunch launch = describe_launch(p);
  launch.codecs = reinterpret_cast<const DeviceCodec*>(base + codecs);
  launch.slot_base = plan.slot_base;
  launch.slot_rows = plan.slot_rows;
  launch.most_slots = plan.most_slots;
  launch.query_frame = std::max(frame, 0);
  launch.multiprocessors = context.device().multiprocessors;
  launch.counter = context.work_counter();
  launch.groups = reinterpret_cast<const PrefillGroup*>(base + groups);
  launch.blocks = reinterpret_cast<const PrefillBlock*>(base + blocks);
  launch.items = reinterpret_cast<const PrefillItem*>(base + items);
  launch.host_groups = plan.groups.data();
  launch.host_blocks = plan.blocks.data();
  launch.block_count = static_cast<int32_t>(plan.blocks.size());
  launch.unit_heads = unit_heads;
  launch.item_count = static_cast<int32_t>(plan.items.size());
  context.declare(prefill_bytes(p), prefill_flops(p));
  if (!stages.empty()) {
    PrefillStageLaunch stage;
    stage.stages = reinterpret_cast<const PrefillStage*>(base + stage_table);
    stage.codecs = launch.codecs;
    stage.count = static_cast<int32_t>(stages.size());
    stage.kv_heads = p.kv_heads;
    stage.head_dim = p.head_dim;
    KVG_CHECK_CUDA(cuda::launch(stage, context.stream()));
  }
  KVG_CHECK_CUDA(kernel.launch(launch, context.stream()));
}

}  // namespace kvg::cuda
