#include "kernels/cuda/codec/store.h"

#include "kernels/cuda/codec/slots.h"
#include "kernels/cuda/error.h"
#include "kernels/ops_check.h"

namespace kvg::cuda {

namespace {

template <typename Launch>
void issue(CudaContext& context, const Launch& p) {
  context.declare(bytes(p), flops(p));
  KVG_CHECK_CUDA(launch(p, context.stream()));
}

// StoreParams -> StoreLaunch, LoadParams -> LoadLaunch.
template <typename Launch, typename Params>
void issue_rows(CudaContext& context, const Params& params) {
  check(params, DType::bf16);
  Launch p;
  p.rows = params.k.size(0);
  if (p.rows == 0) return;
  p.kv_heads = static_cast<int32_t>(params.k.size(1));
  p.layer = params.layer;
  p.k = params.k.data;
  p.v = params.v.data;
  p.slots = context.slots(params.store, params.layer, p.kv_heads);
  p.first_slot = params.first_slot;
  issue(context, p);
}

}  // namespace

void store(CudaContext& context, const StoreParams& params) {
  issue_rows<StoreLaunch>(context, params);
}

void load(CudaContext& context, const LoadParams& params) {
  issue_rows<LoadLaunch>(context, params);
}

void copy_slots(CudaContext& context, const CopySlotsParams& params) {
  check(params);
  if (params.count == 0) return;
  CopySlotsLaunch p;
  p.from = context.slots(params.from, 0, params.kv_heads);
  p.to = context.slots(params.to, 0, params.kv_heads);
  p.from_slot = params.from_slot;
  p.to_slot = params.to_slot;
  p.count = params.count;
  p.kv_heads = params.kv_heads;
  issue(context, p);
}

}  // namespace kvg::cuda
