#include "kernels/cuda/attention/decode_bank_kernel.cuh"
#include "kernels/cuda/attention/decode_launch.h"

namespace kvg::cuda {

cudaError_t launch_decode_bank_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream) {
  constexpr int kBytes = sizeof(BankShared<128>);
  static_assert(kBytes <= 227 * 1024);
  const auto* kernel = reinterpret_cast<const void*>(decode_bank_kernel<128>);
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  DecodeAttentionLaunch p = params;
  // A power of two, so that teams fill a block.
  p.grid.splits = 1;
  while (p.grid.splits < kBankWarps && 2 * p.grid.splits <= params.grid.splits) p.grid.splits *= 2;
  const int32_t teams = kBankWarps / p.grid.splits;
  const int32_t blocks = (p.sequences * p.kv_heads + teams - 1) / teams;
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks < p.grid.blocks ? blocks : p.grid.blocks));
  config.blockDim = dim3(32 * kBankWarps);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = p.overlaps ? 1 : 0;
  return cudaLaunchKernelEx(&config, decode_bank_kernel<128>, p);
}

}  // namespace kvg::cuda
