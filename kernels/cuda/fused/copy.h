#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

inline constexpr int kMostCopies = 8;
inline constexpr int64_t kCopyWord = 4;  // bytes

// Several copies within the device in one launch, where one after the other would each take the
// time of a launch. No two may touch the same words unless both only read them.
struct CopyLaunch {
  struct Copy {
    const void* from = nullptr;  // [words] u32
    void* to = nullptr;          // [words] u32
    int64_t words = 0;
  };
  Copy copies[kMostCopies];
  int32_t count = 0;
};

cudaError_t launch(const CopyLaunch& params, cudaStream_t stream);

inline int64_t bytes(const CopyLaunch& p) {
  int64_t words = 0;
  for (int i = 0; i < p.count; ++i) words += p.copies[i].words;
  return 2 * kCopyWord * words;
}
inline int64_t flops(const CopyLaunch&) { return 0; }

}  // namespace kvg::cuda
