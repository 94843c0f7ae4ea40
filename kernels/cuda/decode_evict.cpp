#include "kernels/cuda/attention/random_bank.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/step.h"

namespace kvg::cuda {

void decode_evict(CudaContext& context, CudaDecodeState& state, const Tensor& positions) {
  switch (state.plan().bank) {
    case DecodeBank::none:
      return;
    case DecodeBank::landmark:
      return landmark_evict(context, state, positions);
    case DecodeBank::random:
      return random_evict(context, state, positions);
  }
}

}  // namespace kvg::cuda
