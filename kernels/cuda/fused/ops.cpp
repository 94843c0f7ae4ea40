#include "kernels/cuda/fused/ops.h"

#include "base/error.h"
#include "kernels/cuda/error.h"
#include "kernels/cuda/fused/convert.h"
#include "kernels/cuda/fused/embed.h"
#include "kernels/cuda/fused/nll.h"
#include "kernels/cuda/fused/prepare_heads.h"
#include "kernels/cuda/fused/rms_norm.h"
#include "kernels/cuda/fused/sample.h"
#include "kernels/cuda/fused/swiglu.h"

#include <string>

namespace kvg::cuda {

namespace {

template <typename Launch>
void run(CudaContext& context, const Launch& params) {
  context.declare(bytes(params), flops(params));
  KVG_CHECK_CUDA(launch(params, context.stream()));
}

// What is left to the kernels' vector loads.
void require_eights(const char* key, int64_t width) {
  if (width <= 0 || width % 8 != 0) {
    throw Error("CUDA operations", key, std::to_string(width), "a multiple of 8");
  }
}

// Device memory of one type, or nothing.
template <typename T>
T* device_data(const Tensor& tensor) {
  if (!tensor) return nullptr;
  KVG_CHECK(tensor.device == Device::cuda, "host memory in a CUDA operation");
  KVG_CHECK(tensor.dtype == dtype_of<T>(), "another type than the operation's");
  return static_cast<T*>(tensor.data);
}

void* device_bf16(const Tensor& tensor) {
  if (!tensor) return nullptr;
  KVG_CHECK(tensor.device == Device::cuda, "host memory in a CUDA operation");
  KVG_CHECK(tensor.dtype == DType::bf16, "another type than bf16");
  return tensor.data;
}

}  // namespace

void embed(CudaContext& context, const EmbedParams& p) {
  require_eights("hidden", p.table.size(1));
  EmbedLaunch embed;
  embed.tokens = device_data<int32_t>(p.tokens);
  embed.table = device_bf16(p.table);
  embed.out = device_bf16(p.out);
  embed.rows = p.tokens.size(0);
  embed.vocab = p.table.size(0);
  embed.row_bytes = p.table.size(1) * 2;
  run(context, embed);
}

void rms_norm(CudaContext& context, const RmsNormParams& p) {
  require_eights("hidden", p.x.size(1));
  if (p.x.size(1) > kRmsNormMaxHidden) {
    throw Error("CUDA operations", "hidden", std::to_string(p.x.size(1)),
                "at most " + std::to_string(kRmsNormMaxHidden));
  }
  RmsNormLaunch norm;
  norm.x = device_bf16(p.x);
  norm.delta = device_bf16(p.delta);
  norm.weight = device_bf16(p.weight);
  norm.out = device_bf16(p.out);
  norm.rows = p.x.size(0);
  norm.hidden = p.x.size(1);
  norm.eps = static_cast<float>(p.eps);
  run(context, norm);
}

void swiglu(CudaContext& context, const SwigluParams& p) {
  require_eights("ffn", p.out.size(1));
  SwigluLaunch swiglu;
  swiglu.gate_up = device_bf16(p.gate_up);
  swiglu.out = device_bf16(p.out);
  swiglu.rows = p.out.size(0);
  swiglu.ffn = p.out.size(1);
  run(context, swiglu);
}

void prepare_heads(CudaContext& context, const PrepareHeadsParams& p) {
  if (p.head_dim != 64 && p.head_dim != 128) {
    throw Error("CUDA operations", "head_dim", std::to_string(p.head_dim), "64 or 128");
  }
  PrepareHeadsLaunch heads;
  heads.fused = device_bf16(p.fused);
  heads.positions = device_data<int64_t>(p.positions);
  heads.bank_positions = device_data<int64_t>(p.bank_positions);
  heads.theta = device_data<float>(p.theta);
  heads.q = device_bf16(p.q);
  heads.k = device_bf16(p.k);
  heads.v = device_bf16(p.v);
  heads.lambda = device_data<float>(p.lambda);
  heads.gate = device_data<float>(p.gate);
  heads.rows = p.fused.size(0);
  heads.width = p.fused.size(1);
  heads.heads = p.heads;
  heads.kv_heads = p.kv_heads;
  heads.head_dim = p.head_dim;
  heads.lambda_column = p.lambda_column;
  heads.negate_lambda = p.negate_lambda;
  heads.gate_column = p.gate_column;
  heads.half_split = p.rope.half_split;
  heads.bf16_angles = p.rope.bf16_angles;
  heads.frequencies = rope_frequencies(p.rope, p.head_dim);
  run(context, heads);
}

void nll(CudaContext& context, const NllParams& p) {
  NllLaunch nll;
  nll.logits = device_data<float>(p.logits);
  nll.targets = device_data<int32_t>(p.targets);
  nll.nll = device_data<double>(p.nll);
  nll.rows = p.logits.size(0);
  nll.vocab = p.logits.size(1);
  run(context, nll);
}

void sample(CudaContext& context, const SampleParams& p) {
  KVG_CHECK(!p.history || p.first_positions, "a history needs its first positions");
  SampleLaunch sample;
  sample.logits = device_data<float>(p.logits);
  sample.tokens = device_data<int32_t>(p.tokens);
  sample.positions = device_data<int64_t>(p.positions);
  sample.bank_positions = device_data<int64_t>(p.bank_positions);
  sample.history = device_data<int32_t>(p.history);
  sample.first_positions = device_data<int64_t>(p.first_positions);
  sample.rows = p.logits.size(0);
  sample.vocab = p.logits.size(1);
  sample.columns = p.history ? p.history.size(1) : 0;
  sample.temperature = p.temperature;
  sample.top_p = p.top_p;
  sample.seed = p.seed;
  sample.bank_limit = p.bank_limit;
  sample.advance = p.advance;
  run(context, sample);
}

void convert(CudaContext& context, const Tensor& from, const Tensor& to) {
  KVG_CHECK(from.device == Device::cuda && to.device == Device::cuda, "device tensors only");
  KVG_CHECK(from.elements() == to.elements(), "as many elements on both sides");
  if (from.elements() == 0) return;
  const auto moved = static_cast<int64_t>(from.bytes() + to.bytes());
  if (from.dtype == to.dtype) {
    context.declare(moved, 0);
    KVG_CHECK_CUDA(cudaMemcpyAsync(to.data, from.data, from.bytes(), cudaMemcpyDeviceToDevice,
                                   context.stream()));
    return;
  }
  const auto real = [](DType type) {
    return type == DType::f64 || type == DType::f32 || type == DType::bf16;
  };
  if (!real(from.dtype) || !real(to.dtype)) {
    throw Error("tensor conversion", "", std::string(dtype_name(from.dtype)),
                "a type that converts to " + std::string(dtype_name(to.dtype)) +
                    " on the device (f64, f32 or bf16)");
  }
  run(context, ConvertLaunch{from.data, to.data, from.elements(), from.dtype, to.dtype});
}

}  // namespace kvg::cuda
