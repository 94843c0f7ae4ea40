#include "kernels/cuda/transfer.h"

#include "base/error.h"
#include "kernels/convert.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/fused/copy.h"
#include "kernels/cuda/fused/ops.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace kvg::cuda {

namespace {

// Elements converted at a time: the copy needs memory of its own.
constexpr int64_t kChunk = int64_t{1} << 22;

cudaMemoryType memory_type(const void* address) {
  cudaPointerAttributes attributes{};
  KVG_CHECK_CUDA(cudaPointerGetAttributes(&attributes, address));
  return attributes.type;
}

bool on_device(const void* address) {
  const cudaMemoryType type = memory_type(address);
  return type == cudaMemoryTypeDevice || type == cudaMemoryTypeManaged;
}

Tensor flat(const Tensor& tensor) {
  return {tensor.data, tensor.dtype, tensor.device, {tensor.elements()}};
}

void upload_converted(CudaContext& context, const Tensor& host, const Tensor& out) {
  const int64_t n = host.elements();
  std::vector<std::byte> memory(static_cast<size_t>(std::min(n, kChunk)) * dtype_size(out.dtype));
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t count = std::min(kChunk, n - begin);
    const Tensor chunk(memory.data(), out.dtype, Device::cpu, {count});
    convert(flat(host).rows(begin, count), chunk);
    copy(context, flat(out).rows(begin, count).data, chunk.data, chunk.bytes());
  }
}

// Between places of the device, in whole words of a CopyLaunch.
bool is_plain_copy(const UploadParams& p) {
  const auto in_words = [](const Tensor& tensor) {
    return tensor.device == Device::cuda &&
           (reinterpret_cast<uintptr_t>(tensor.data) | tensor.bytes()) % kCopyWord == 0;
  };
  return p.from.dtype == p.out.dtype && in_words(p.from) && in_words(p.out);
}

}  // namespace

void upload(CudaContext& context, const Tensor& from, const Tensor& out) {
  KVG_CHECK(out.device == Device::cuda, "upload goes to the device");
  KVG_CHECK(from.elements() == out.elements(), "as many elements on both sides");
  if (from.device == Device::cuda) {
    convert(context, from, out);
  } else if (from.dtype == out.dtype) {
    copy(context, out.data, from.data, from.bytes());
  } else {
    upload_converted(context, from, out);
  }
}

void upload_all(CudaContext& context, std::span<const UploadParams> uploads) {
  CopyLaunch copies;
  const auto issue = [&] {
    if (copies.count == 0) return;
    context.declare(bytes(copies), flops(copies));
    KVG_CHECK_CUDA(launch(copies, context.stream()));
    copies = {};
  };
  for (const UploadParams& p : uploads) {
    if (!is_plain_copy(p)) {
      upload(context, p.from, p.out);
      continue;
    }
    KVG_CHECK(p.from.elements() == p.out.elements(), "as many elements on both sides");
    if (copies.count == kMostCopies) issue();
    copies.copies[copies.count++] = {p.from.data, p.out.data,
                                     static_cast<int64_t>(p.out.bytes() / kCopyWord)};
  }
  issue();
}

void copy(CudaContext& context, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const bool to_host = !on_device(to);
  // Pageable memory is read before the call returns, page-locked memory when its turn comes.
  const bool from_locked = memory_type(from) == cudaMemoryTypeHost;
  KVG_CHECK(!context.recording() || (!to_host && on_device(from)),
            "no copy of host memory while a step is being recorded");
  KVG_CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, context.stream()));
  if (to_host || from_locked) context.synchronize();
}

}  // namespace kvg::cuda
