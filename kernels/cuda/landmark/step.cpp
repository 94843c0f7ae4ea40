#include "kernels/cuda/landmark/step.h"

#include "base/error.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/landmark/live_step.h"
#include "kernels/cuda/landmark/scan.h"

#include <algorithm>

namespace kvg::cuda {

namespace {

LandmarkShape shape_of(const DecodePlan& plan, const DecodeCache& cache) {
  LandmarkShape shape;
  shape.kv_heads = plan.kv_heads;
  shape.head_dim = plan.head_dim;
  shape.band = static_cast<int32_t>(plan.slow_dims.size());
  shape.exact = static_cast<int32_t>(cache.landmark.exact.capacity);
  shape.summary = static_cast<int32_t>(cache.landmark.summary.capacity);
  shape.most_tokens = static_cast<int32_t>(plan.block);
  return shape;
}

int64_t vector_bytes(const Codec* codec) {
  return codec == nullptr ? 0 : codec->code_bytes() + codec->scale_bytes();
}

// A slot, K and V of all heads.
int64_t slot_bytes(const SlotStore& store, int kv_heads) {
  return kv_heads * (vector_bytes(store.k_codec) + vector_bytes(store.v_codec));
}

}  // namespace

int64_t bytes(const LandmarkStepLaunch& p, const DecodeCache& cache, int64_t tokens) {
  const LandmarkBank& bank = cache.landmark;
  const LandmarkShape& s = p.layout.shape;
  const int64_t compared =
      s.exact * vector_bytes(bank.exact.v_codec) + s.summary * vector_bytes(bank.summary.k_codec);
  const int64_t masks = 9 * int64_t{s.exact} + (bank.counts != nullptr ? 9 : 1) * s.summary;
  const int64_t written = (s.exact > 0 ? slot_bytes(bank.exact, s.kv_heads) : 0) +
                          (s.summary > 0 ? 2 * slot_bytes(bank.summary, s.kv_heads) : 0);
  const int64_t a_token = 4 + slot_bytes(cache.recent, s.kv_heads) + written;
  const int64_t caches = p.plan.layers * p.plan.sequences;
  return caches * (s.kv_heads * compared + 2 * masks + tokens * a_token);
}

int64_t flops(const LandmarkStepLaunch& p, int64_t tokens) {
  const LandmarkShape& s = p.layout.shape;
  const int64_t products = int64_t{s.exact} * s.head_dim + int64_t{s.summary} * s.band;
  return 2 * p.plan.layers * p.plan.sequences * tokens * s.kv_heads * products;
}

void landmark_evict(CudaContext& context, CudaDecodeState& state, const Tensor& positions) {
  const DecodePlan& plan = state.plan();
  KVG_CHECK(plan.bank == DecodeBank::landmark, "landmark_evict: a plan with landmark banks");
  KVG_CHECK(positions.dtype == DType::i64 && positions.elements() == plan.sequences,
            "landmark_evict: positions");
  if (plan.sequences * plan.layers == 0) return;
  const DecodeCache& cache = state.cache(0, 0);
  LandmarkStepLaunch p;
  p.plan = state.device_plan();
  p.caches = state.device_caches();
  p.positions = static_cast<const int64_t*>(positions.data);
  // All caches of a batch are made alike.
  const LandmarkShape shape = shape_of(plan, cache);
  const bool live = is_live(plan.rules, shape, cache.landmark, plan.single, plan.max_tokens);
  if (live) {
    p.layout.shape = shape;
  } else {
    p.layout = fitting_layout(context, shape);
  }
  context.declare(bytes(p, cache, plan.block), flops(p, plan.block));
  const auto plain = [](const Codec& codec) { return codec.spec().kind == CodecKind::bf16; };
  const LiveStepLaunch step{p, live_rules(plan.rules),
                            plain(*cache.recent.k_codec) && plain(*cache.recent.v_codec)};
  KVG_CHECK_CUDA(live ? launch(step, context.stream()) : launch(p, context.stream()));
}

}  // namespace kvg::cuda
