#include "kernels/cuda/landmark/scan.h"

#include "base/error.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/table_buffer.h"

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

namespace kvg::cuda {

namespace {

int64_t slot_bytes(const DeviceSlots& slots) {
  if (slots.capacity == 0) return 0;
  const int64_t scales = (slots.k_scales != nullptr ? 2 : 0) + (slots.v_scales != nullptr ? 2 : 0);
  return slots.capacity * (slots.k_codec.code_bytes + slots.v_codec.code_bytes + scales);
}

DeviceLandmarkBank on_device(CudaContext& context, const LandmarkBank& bank, int32_t layer,
                             int kv_heads) {
  return {context.slots(bank.exact, layer, kv_heads),
          context.slots(bank.summary, layer, kv_heads),
          bank.exact_valid,
          bank.summary_valid,
          bank.log_weight,
          bank.counts,
          bank.stamps,
          bank.exact_unit,
          bank.summary_unit};
}

LandmarkShape shape_of(const LandmarkParams& p) {
  LandmarkShape shape;
  shape.kv_heads = static_cast<int32_t>(p.k.size(1));
  shape.head_dim = static_cast<int32_t>(p.k.size(2));
  shape.band = static_cast<int32_t>(p.slow_dims.size());
  shape.exact = static_cast<int32_t>(p.bank.exact.capacity);
  shape.summary = static_cast<int32_t>(p.bank.summary.capacity);
  for (const LandmarkStep& step : p.steps) {
    shape.most_tokens = std::max(shape.most_tokens, static_cast<int32_t>(step.end - step.begin));
  }
  return shape;
}

struct Tables {
  std::vector<LandmarkScanStep> steps;
  std::vector<DeviceLandmarkBank> snapshots;
};

Tables tables_of(CudaContext& context, const LandmarkParams& p) {
  Tables tables;
  for (const LandmarkStep& step : p.steps) {
    const bool taken = step.snapshot != nullptr;
    tables.steps.push_back({static_cast<int32_t>(step.begin), static_cast<int32_t>(step.end),
                            step.single,
                            taken ? static_cast<int32_t>(tables.snapshots.size()) : -1});
    if (taken) {
      tables.snapshots.push_back(
          on_device(context, *step.snapshot, p.layer, static_cast<int>(p.k.size(1))));
    }
  }
  return tables;
}

}  // namespace

int64_t bank_bytes(const DeviceLandmarkBank& bank, int kv_heads) {
  return kv_heads * (slot_bytes(bank.exact) + slot_bytes(bank.summary));
}

int64_t bytes(const LandmarkScanLaunch& p) {
  const int64_t token = 4 * int64_t{p.layout.shape.kv_heads} * p.layout.shape.head_dim;
  return p.tokens * token + 2 * bank_bytes(p.bank, p.layout.shape.kv_heads) + p.snapshot_bytes;
}

int64_t flops(const LandmarkScanLaunch& p) {
  const LandmarkShape& s = p.layout.shape;
  const int64_t products = int64_t{s.exact} * s.head_dim + int64_t{s.summary} * s.band;
  return 2 * p.tokens * s.kv_heads * products;
}

LandmarkLayout fitting_layout(const CudaContext& context, const LandmarkShape& given) {
  LandmarkShape shape = given;
  if (shape.head_dim != 64 && shape.head_dim != 128) {
    throw Error("operations cuda", "head_dim", std::to_string(shape.head_dim), "64 or 128");
  }
  if (shape.kv_heads > kLandmarkHeads) {
    throw Error("method landmark", "kv_heads", std::to_string(shape.kv_heads),
                "at most " + std::to_string(kLandmarkHeads) + " on CUDA");
  }
  if (shape.most_tokens > kLandmarkTokens) {
    throw Error("method landmark", "block", std::to_string(shape.most_tokens),
                "at most " + std::to_string(kLandmarkTokens) + " tokens evicted at a time on CUDA");
  }
  const auto heads = static_cast<unsigned>(shape.kv_heads);
  shape.ctas = context.compute_capability() >= 90
                   ? std::min(kLandmarkCtas, static_cast<int>(std::bit_ceil(heads)))
                   : 1;
  const auto limit = static_cast<uint32_t>(context.device().shared_memory_per_block);
  const LandmarkLayout layout = landmark_layout(shape, sizeof(DeviceLandmarkBank), limit);
  if (layout.bytes > limit) {
    throw Error("method landmark", "exact and summary",
                std::to_string(shape.exact) + " and " + std::to_string(shape.summary) +
                    " slots, which take " + std::to_string(layout.bytes) + " B of shared memory",
                "at most " + std::to_string(limit) + " B on this GPU");
  }
  return layout;
}

bool live_scan_fits(const CudaContext& context, const LandmarkParams& p) {
  const LandmarkShape shape = shape_of(p);
  const int64_t end = p.first_position + (p.steps.empty() ? 0 : p.steps.back().end);
  const auto fits = [&](bool single) { return is_live(p.rules, shape, p.bank, single, end); };
  const auto step_fits = [&](const LandmarkStep& step) {
    return fits(step.single) && (step.snapshot == nullptr || is_live_snapshot(*step.snapshot));
  };
  return context.compute_capability() >= 90 && !p.refresh_units && fits(false) &&
         std::all_of(p.steps.begin(), p.steps.end(), step_fits);
}

void landmark_scan(CudaContext& context, const LandmarkParams& params) {
  check(params, DType::bf16);
  if (params.steps.empty() && !params.refresh_units) return;
  const Tables tables = tables_of(context, params);
  const bool live = live_scan_fits(context, params);
  KVG_CHECK(
      is_packed(params) || (live && params.token_stride % 8 == 0 && params.head_stride % 8 == 0),
      "landmark: strides, of whole 16 bytes, are for the live scan");
  LandmarkScanLaunch p;
  if (live) {
    p.layout.shape = shape_of(params);
  } else {
    p.layout = fitting_layout(context, shape_of(params));
  }
  const auto kv_heads = static_cast<int>(params.k.size(1));
  p.k = params.k.data;
  p.v = params.v.data;
  p.token_stride = is_packed(params) ? kv_heads * params.k.size(2) : params.token_stride;
  p.head_stride = is_packed(params) ? params.k.size(2) : params.head_stride;
  p.gate = static_cast<const float*>(params.gate.data);
  p.first_position = params.first_position;
  p.layer = params.layer;
  p.bank = on_device(context, params.bank, params.layer, kv_heads);
  p.rules = params.rules;
  p.refresh_units = params.refresh_units;
  p.step_count = static_cast<int32_t>(tables.steps.size());
  p.tokens = params.steps.empty() ? 0 : static_cast<int32_t>(params.steps.back().end);
  for (const DeviceLandmarkBank& snapshot : tables.snapshots) {
    p.snapshot_bytes += bank_bytes(snapshot, kv_heads);
  }
  if (params.eta != nullptr) {
    std::transform(params.eta, params.eta + kv_heads, p.eta,
                   [](double eta) { return static_cast<float>(eta); });
  }
  TableBuffer buffer;
  const size_t steps = buffer.add(tables.steps);
  const size_t snapshots = buffer.add(tables.snapshots);
  const size_t slow_dims = buffer.add(params.slow_dims);
  context.declare(bytes(p), flops(p));
  if (!params.beside) context.wait_beside(p.layer, Phase::bank);
  const cudaStream_t stream = params.beside ? context.begin_beside() : context.stream();
  const DeviceTable memory = context.table(buffer.bytes(), stream);
  const auto* base = memory.as<std::byte>();
  p.steps = reinterpret_cast<const LandmarkScanStep*>(base + steps);
  p.snapshots = reinterpret_cast<const DeviceLandmarkBank*>(base + snapshots);
  p.slow_dims = reinterpret_cast<const int32_t*>(base + slow_dims);
  KVG_CHECK_CUDA(live ? launch(LiveScanLaunch{p, live_rules(p.rules)}, stream) : launch(p, stream));
  if (params.beside) context.end_beside(p.layer);
}

}  // namespace kvg::cuda
