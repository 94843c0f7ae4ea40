#include "kernels/cuda/gemm/linear.h"

#include "base/error.h"
#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/fused/convert.h"
#include "kernels/cuda/gemm/cublas.h"
#include "kernels/cuda/gemm/gated_sm90.h"
#include "kernels/cuda/gemm/gemv.h"
#include "kernels/cuda/gemm/wide_sm90.h"

#include <compare>
#include <map>
#include <string>

namespace kvg::cuda {

namespace {

// Up to here the product waits for the weights alone, and the library's tiles of 64 and more rows
// only get in the way.
constexpr int64_t kMostGemvRows = kGemvMaxRows;
// Up to here a step whose products are all of the wide kernel, each overlapping the one before it,
// is 3 to 9 % faster than with the library's (16 to 128 rows); at 144 rows it would be 22 % slower,
// at 192 9 %, at 256 1 %.
constexpr int64_t kMostWideRows = 128;
// Beyond, ours stays for long sums to few columns, which it shares among all multiprocessors:
// 256 x 14336 x 4096 takes 46.6 us on an H200, 48.7 by the library.
bool is_long_sum(const LinearParams& p) { return p.x.size(1) >= 2 * p.weight.size(0); }
// Beside other work, products of many tiles (128 x 256 of them: eight rounds of all
// multiprocessors) go to the library's algorithm for a few multiprocessors less, told of those that
// are left: gate_up of 4096 rows takes 1.32 ms on an H100 beside 16 that are held, 1.39 by the
// first choice. Products of few tiles may outlast that work, and then lose by it.
constexpr int64_t kLeastTilesBeside = 8;
constexpr int kFewerMultiprocessors = 4;
// From here on gates and ups are one launch, which takes 80 us on an H200 for 14336 of each and any
// rows, the library and swiglu 95 at 256 rows, 87 at 224, 81 at 192; and 16 % less energy, so that
// a step of 256 sequences, which is at the power limit, becomes 4 % faster. One of 192 would by
// 0.6 %, one of 144 be 5 % slower.
constexpr int64_t kLeastGatedRows = 193;
constexpr size_t kWorkspace = size_t{32} << 20;  // what the library asks for on Hopper
// The library adds a bias of the result's type only: behind the workspace there is room for one
// that had to be widened.
constexpr int64_t kMostWideBias = int64_t{1} << 18;

// The largest power of two, up to what the library makes use of, that an address is a multiple of.
uint32_t alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

cudaDataType_t cuda_type(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// Row-major [rows, columns] is column-major [columns, rows].
cublasLtMatrixLayoutOpaque_t layout(DType dtype, int64_t rows, int64_t columns) {
  cublasLtMatrixLayoutOpaque_t result{};
  KVG_CHECK_CUBLAS(cublasLtMatrixLayoutInit(&result, cuda_type(dtype),
                                            static_cast<uint64_t>(columns),
                                            static_cast<uint64_t>(rows), columns));
  return result;
}

template <typename T>
void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  KVG_CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof(value)));
}

template <typename T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const T& value) {
  KVG_CHECK_CUBLAS(
      cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
}

// What a choice of algorithm depends on.
struct Shape {
  int64_t rows = 0, in = 0, out = 0;
  bool bias = false;
  DType out_type = DType::bf16;
  uint32_t x_alignment = 0, weight_alignment = 0, out_alignment = 0;
  int multiprocessors = 0;  // that are left, for a product beside other work; else 0

  friend auto operator<=>(const Shape&, const Shape&) = default;
};

Shape shape_of(const LinearParams& p) {
  return {p.x.size(0),
          p.x.size(1),
          p.weight.size(0),
          static_cast<bool>(p.bias),
          p.out.dtype,
          alignment(p.x.data),
          alignment(p.weight.data),
          alignment(p.out.data),
          0};
}

std::string to_string(const Shape& shape) {
  return std::to_string(shape.rows) + " x " + std::to_string(shape.in) + " x " +
         std::to_string(shape.out) + " -> " + std::string(dtype_name(shape.out_type)) +
         (shape.bias ? " with bias" : "");
}

bool gemv_serves_tensors(const LinearParams& p) {
  return gemv_serves(p.x.size(0), p.x.size(1)) && alignment(p.x.data) >= 16 &&
         alignment(p.weight.data) >= 16;
}
bool wide_serves_tensors(const LinearParams& p) {
  return wide_serves(p.x.size(0), p.x.size(1), p.weight.size(0)) && alignment(p.x.data) >= 16 &&
         alignment(p.weight.data) >= 16 && alignment(p.out.data) >= 16;
}
static_assert(kWidePartsBytes <= kWorkspace);

// In the library's column-major terms out^T = W x^T: W is its A, transposed.
struct Plan {
  cublasLtMatmulDescOpaque_t product{};
  cublasLtMatrixLayoutOpaque_t weight{}, x{}, out{};
  cublasLtMatmulAlgo_t algorithm{};
};

cublasLtMatmulDescOpaque_t describe(const Shape& shape) {
  cublasLtMatmulDescOpaque_t product{};
  KVG_CHECK_CUBLAS(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(&product, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (shape.bias) {
    set(&product, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(&product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(shape.out_type));
  }
  return product;
}

}  // namespace

struct Linear::Plans {
  cublasLtHandle_t handle = nullptr;
  int multiprocessors;  // of the device
  std::map<Shape, Plan> known;

  explicit Plans(int count) : multiprocessors(count) { KVG_CHECK_CUBLAS(cublasLtCreate(&handle)); }
  ~Plans() { (void)cublasLtDestroy(handle); }
  Plans(const Plans&) = delete;
  Plans& operator=(const Plans&) = delete;

  Plan& of(const Shape& shape) {
    const auto found = known.find(shape);
    return found != known.end() ? found->second : known.emplace(shape, make(shape)).first->second;
  }
  Plan make(const Shape& shape) const;
};

// The library's first choice, without timing: the same in every process. For the products of
// Mistral-7B at 16 to 8192 rows on an H200 it takes 2 to 4 % longer than the best of the first
// eight, 13 % at worst (256 x 14336 x 4096); choosing by time would not repeat bitwise.
Plan Linear::Plans::make(const Shape& shape) const {
  const auto tell_of = [](Plan& to, int count) {
    set(&to.product, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, int32_t{count});
  };
  Plan plan{describe(shape),
            layout(DType::bf16, shape.out, shape.in),
            layout(DType::bf16, shape.rows, shape.in),
            layout(shape.out_type, shape.rows, shape.out),
            {}};
  const bool beside = shape.multiprocessors > 0;
  if (beside) tell_of(plan, multiprocessors - kFewerMultiprocessors);
  cublasLtMatmulPreferenceOpaque_t preference{};
  KVG_CHECK_CUBLAS(cublasLtMatmulPreferenceInit(&preference));
  set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspace});
  // Parts of a sum are never added in bf16.
  set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.weight_alignment);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.x_alignment);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.out_alignment);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.out_alignment);
  cublasLtMatmulHeuristicResult_t choice{};
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, &plan.product, &plan.weight, &plan.x, &plan.out,
                                     &plan.out, &preference, 1, &choice, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
    throw CudaError("linear " + to_string(shape) + ": cuBLASLt has no algorithm (" +
                    cublasLtGetStatusName(status) + ")");
  }
  plan.algorithm = choice.algo;
  if (beside) tell_of(plan, shape.multiprocessors);
  return plan;
}

Linear::Linear(CudaContext& context)
    : context_(context),
      workspace_(context.scratch(kWorkspace + kMostWideBias * sizeof(float))),
      wide_counters_(context.scratch(kWideCounterBytes)),
      plans_(std::make_unique<Plans>(context.device().multiprocessors)) {
  KVG_CHECK_CUDA(
      cudaMemsetAsync(wide_counters_.as<void>(), 0, kWideCounterBytes, context.stream()));
}

Linear::~Linear() = default;

bool Linear::serves(const LinearParams& p, LinearKernel kernel) const {
  if (kernel == LinearKernel::gemv) return gemv_serves_tensors(p);
  if (kernel == LinearKernel::wide) {
    return wide_serves_tensors(p) && runs_sm90_code();
  }
  return true;
}

void Linear::run(const LinearParams& params) { run(params, choose(params)); }

LinearKernel Linear::choose(const LinearParams& p) const {
  const int64_t rows = p.x.size(0);
  if (rows <= kMostGemvRows && serves(p, LinearKernel::gemv)) return LinearKernel::gemv;
  const bool wide = rows > kMostGemvRows && (rows <= kMostWideRows || is_long_sum(p));
  if (wide && serves(p, LinearKernel::wide)) return LinearKernel::wide;
  return LinearKernel::cublaslt;
}

void Linear::run(const LinearParams& params, LinearKernel kernel) {
  if (params.out.elements() == 0) return;
  if (!serves(params, kernel)) {
    const bool gemv = kernel == LinearKernel::gemv;
    throw Error(gemv ? "linear gemv" : "linear wide", "shape", to_string(shape_of(params)),
                "at most " + std::to_string(gemv ? kGemvMaxRows : kWideMaxRows) + " rows, inputs " +
                    (gemv ? "" : "and outputs ") + "a multiple of 8, 16-byte aligned" +
                    (gemv ? "" : ", compute capability 9.0"));
  }
  if (kernel == LinearKernel::gemv) {
    run_gemv(params);
  } else if (kernel == LinearKernel::wide) {
    run_wide(params);
  } else {
    run_cublas(params);
  }
}

bool Linear::run(const GatedLinearParams& p) {
  const LinearParams product_only{p.x, p.weight, Tensor(), p.out};
  if (p.out.size(1) % 8 != 0) return false;
  if (p.x.size(0) > kWideMaxGatedRows) return run_gated(p);
  if (choose(product_only) != LinearKernel::wide) return false;
  WideLaunch product = wide_launch(product_only);
  product.out = p.out.size(1);
  product.gated = true;
  KVG_CHECK_CUDA(launch(product, context_.stream()));
  context_.declare(bytes(product), flops(product));
  return true;
}

bool Linear::run_gated(const GatedLinearParams& p) {
  GatedLaunch product;
  product.x = p.x.data;
  product.weight = p.weight.data;
  product.result = p.out.data;
  product.rows = p.x.size(0);
  product.in = p.x.size(1);
  product.out = p.out.size(1);
  product.tile_columns = gated_tile_columns(product.out, context_.device().multiprocessors);
  const bool aligned =
      alignment(p.x.data) >= 16 && alignment(p.weight.data) >= 16 && alignment(p.out.data) >= 16;
  if (product.rows < kLeastGatedRows || !gated_serves(product.rows, product.in, product.out) ||
      product.tile_columns == 0 || !aligned || context_.multiprocessors_beside() > 0 ||
      !runs_sm90_code()) {
    return false;
  }
  KVG_CHECK_CUDA(launch(product, context_.stream()));
  context_.declare(bytes(product), flops(product));
  return true;
}

void Linear::run_gemv(const LinearParams& p) {
  const GemvLaunch product{p.x.data,    p.weight.data, p.bias.data,      p.out.data,
                           p.x.size(0), p.x.size(1),   p.weight.size(0), p.out.dtype};
  KVG_CHECK_CUDA(launch(product, context_.stream()));
  context_.declare(bytes(product), flops(product));
}

WideLaunch Linear::wide_launch(const LinearParams& p) const {
  WideLaunch product;
  product.x = p.x.data;
  product.weight = p.weight.data;
  product.bias = p.bias.data;
  product.result = p.out.data;
  product.rows = p.x.size(0);
  product.in = p.x.size(1);
  product.out = p.weight.size(0);
  product.result_type = p.out.dtype;
  product.counters = wide_counters_.as<void>();
  product.parts = workspace_.as<void>();
  product.layout =
      wide_layout(product.rows, product.out, product.in, context_.device().multiprocessors);
  return product;
}

void Linear::run_wide(const LinearParams& p) {
  const WideLaunch product = wide_launch(p);
  KVG_CHECK_CUDA(launch(product, context_.stream()));
  context_.declare(bytes(product), flops(product));
}

const void* Linear::bias_of_result_type(const LinearParams& p) {
  if (p.out.dtype == DType::bf16) return p.bias.data;
  const int64_t outputs = p.bias.elements();
  if (outputs > kMostWideBias) {
    throw Error("linear", "bias of f32 results", std::to_string(outputs),
                "at most " + std::to_string(kMostWideBias));
  }
  void* wide = workspace_.as<char>() + kWorkspace;
  const ConvertLaunch widening{p.bias.data, wide, outputs, DType::bf16, DType::f32};
  KVG_CHECK_CUDA(launch(widening, context_.stream()));
  context_.declare(bytes(widening), flops(widening));
  return wide;
}

void Linear::run_cublas(const LinearParams& p) {
  Shape shape = shape_of(p);
  const int multiprocessors = context_.device().multiprocessors;
  const int64_t tiles = shape.rows * shape.out / (128 * 256);
  const int beside = context_.multiprocessors_beside();
  if (beside > 0 && tiles >= kLeastTilesBeside * multiprocessors) {
    shape.multiprocessors = multiprocessors - beside;
  }
  Plan& plan = plans_->of(shape);
  if (shape.bias) {
    set(&plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_of_result_type(p));
  }
  const float one = 1, zero = 0;
  KVG_CHECK_CUBLAS(cublasLtMatmul(plans_->handle, &plan.product, &one, p.weight.data, &plan.weight,
                                  p.x.data, &plan.x, &zero, p.out.data, &plan.out, p.out.data,
                                  &plan.out, &plan.algorithm, workspace_.as<void>(), kWorkspace,
                                  context_.stream()));
  const size_t bias = p.bias ? p.bias.bytes() : 0;
  context_.declare(static_cast<int64_t>(p.x.bytes() + p.weight.bytes() + bias + p.out.bytes()),
                   2 * shape.rows * shape.in * shape.out);
}

}  // namespace kvg::cuda
