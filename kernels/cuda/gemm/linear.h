#pragma once

#include "kernels/cuda/context.h"
#include "kernels/ops.h"

#include <cstdint>
#include <memory>

namespace kvg::cuda {

struct WideLaunch;  // gemm/wide_sm90.h

// Who computes a product.
enum class LinearKernel : uint8_t {
  cublaslt,  // any shape
  gemv,      // few rows: the weights are read once, at the speed of memory (gemm/gemv.h)
  wide,      // some hundred rows on Hopper (gemm/wide_sm90.h)
};

// out = x W^T (+ bias): bf16 operands, products added in fp32, out bf16 or f32. The same shape is
// always computed in the same order, so that results are bitwise repeatable. The launch before it
// may write x but not W (gemv.h).
//
// Compulsory traffic is 2 (rows in + out in + rows out) bytes and a bit, work 2 rows in out FLOPs;
// below about 200 rows an H200 waits for the weights.
class Linear {
 public:
  explicit Linear(CudaContext& context);
  ~Linear();

  // Chooses the kernel by the number of rows.
  void run(const LinearParams& params);
  // For comparison. Throws Error when the kernel does not serve the shape.
  void run(const LinearParams& params, LinearKernel kernel);
  // At once, where there is a kernel that does it (gemm/wide_sm90.h, gemm/gated_sm90.h); otherwise
  // false, and nothing is done.
  bool run(const GatedLinearParams& params);

 private:
  struct Plans;
  bool serves(const LinearParams& params, LinearKernel kernel) const;
  LinearKernel choose(const LinearParams& params) const;
  void run_gemv(const LinearParams& params);
  void run_wide(const LinearParams& params);
  bool run_gated(const GatedLinearParams& params);
  WideLaunch wide_launch(const LinearParams& params) const;
  void run_cublas(const LinearParams& params);
  const void* bias_of_result_type(const LinearParams& params);

  CudaContext& context_;
  Scratch workspace_;
  Scratch wide_counters_;
  std::unique_ptr<Plans> plans_;
};

}  // namespace kvg::cuda
