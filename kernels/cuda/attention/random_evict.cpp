#include "base/error.h"
#include "kernels/cuda/attention/decode_slots.h"
#include "kernels/cuda/attention/random_bank.h"
#include "kernels/cuda/error.h"

namespace kvg::cuda {

void random_evict(CudaContext& context, CudaDecodeState& state, const Tensor& positions) {
  KVG_CHECK(positions.size(0) == state.plan().sequences, "decode: positions");
  RandomEvictLaunch params;
  params.caches = state.device_caches();
  params.plan = state.device_plan();
  params.positions = static_cast<const int64_t*>(positions.data);
  context.declare(
      bytes(params, state.slot_bytes(DecodeGroup::recent), state.slot_bytes(DecodeGroup::random)),
      0);
  KVG_CHECK_CUDA(launch(params, context.stream()));
}

}  // namespace kvg::cuda
