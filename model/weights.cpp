#include "model/weights.h"

#include "base/error.h"
#include "base/memory.h"
#include "kernels/convert.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace kvg {

namespace {

std::string shape_text(const int64_t* extents, size_t rank, DType dtype) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i) text += (i == 0 ? "" : ", ") + std::to_string(extents[i]);
  return text + "] " + std::string(dtype_name(dtype));
}

// An element is NaN or infinite when all bits of its exponent are set.
template <typename Bits>
bool all_finite(const void* data, int64_t n, Bits exponent) {
  const auto* bits = static_cast<const Bits*>(data);
  int bad = 0;  // no early exit: the loop runs at the speed of memory
#pragma omp parallel for simd reduction(| : bad) schedule(static) if (n > (1 << 16))
  for (int64_t i = 0; i < n; ++i) bad |= (bits[i] & exponent) == exponent ? 1 : 0;
  return bad == 0;
}

bool all_finite(const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::f64:
      return all_finite(tensor.data, tensor.elements(), uint64_t{0x7ff0000000000000});
    case DType::f32:
      return all_finite(tensor.data, tensor.elements(), uint32_t{0x7f800000});
    case DType::bf16:
      return all_finite(tensor.data, tensor.elements(), uint16_t{0x7f80});
    default:
      return all_finite(tensor.data, tensor.elements(), uint16_t{0x7c00});  // f16
  }
}

// "element 17 is nan", for the error about a tensor that is known to have one.
std::string first_bad_element(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  convert(tensor, Tensor(values.data(), DType::f64, Device::cpu, {tensor.elements()}));
  size_t i = 0;
  while (i < values.size() && std::isfinite(values[i])) ++i;
  return fmt::format("element {} is {}", i, i < values.size() ? values[i] : 0.0);
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Ops& ops) : checkpoint_(checkpoint), ops_(ops) {
    weights_.config = checkpoint.config();
    for (TensorSpec& spec : model_tensors(weights_.config)) {
      shapes_[std::move(spec.name)] = std::move(spec.shape);
    }
  }

  Weights load() {
    const ModelConfig& config = weights_.config;
    check_memory();
    weights_.embedding = load_tensor("model.embed_tokens.weight");
    for (int64_t i = 0; i < config.layers; ++i) load_layer(i);
    weights_.final_norm = load_tensor("model.norm.weight");
    weights_.head = config.tied_head ? weights_.embedding : load_tensor("lm_head.weight");
    return std::move(weights_);
  }

 private:
  void check_memory() const {
    const auto parameters = static_cast<uint64_t>(weights_.config.parameters());
    require_memory(fmt::format("weights of {} ({:.2f} G parameters as {})", weights_.config.name,
                               static_cast<double>(parameters) * 1e-9, dtype_name(ops_.weight())),
                   parameters * dtype_size(ops_.weight()), ops_.available_memory());
  }

  Tensor allocate(std::initializer_list<int64_t> shape) { return allocate(shape, ops_.weight()); }

  Tensor allocate(std::initializer_list<int64_t> shape, DType type) {
    Tensor tensor(nullptr, type, ops_.device(), shape);
    try {
      weights_.memory.push_back(ops_.allocate(tensor.bytes()));
    } catch (const Error& error) {
      throw Error("weights of " + weights_.config.name + ": " + error.what());
    }
    tensor.data = weights_.memory.back()->data();
    return tensor;
  }

  // The checkpoint's tensor, proven to have the model's shape and finite elements.
  Tensor checked(const std::string& name) const {
    const Tensor host = checkpoint_.tensor(name);
    const std::vector<int64_t>& shape = shapes_.at(name);
    const std::string where = checkpoint_.where(name);
    const bool is_float = host.dtype == DType::f64 || host.dtype == DType::f32 ||
                          host.dtype == DType::f16 || host.dtype == DType::bf16;
    const auto rank = static_cast<size_t>(host.rank);
    if (!is_float || !std::equal(shape.begin(), shape.end(), host.shape.begin(),
                                 host.shape.begin() + host.rank)) {
      throw Error(where, "tensor " + name, shape_text(host.shape.data(), rank, host.dtype),
                  shape_text(shape.data(), shape.size(), is_float ? host.dtype : DType::f32));
    }
    if (!all_finite(host)) {
      throw Error(where, "tensor " + name, first_bad_element(host), "finite numbers");
    }
    return host;
  }

  void upload(const std::string& name, const Tensor& out) {
    const Tensor host = checked(name);
    Tensor same_shape = host;
    same_shape.data = out.data;
    same_shape.dtype = out.dtype;
    same_shape.device = out.device;
    KVG_CHECK(out.elements() == host.elements(), "destination of another size");
    ops_.upload(host, same_shape);
    checkpoint_.release(name);
  }

  Tensor load_tensor(const std::string& name) {
    const std::vector<int64_t>& shape = shapes_.at(name);
    const Tensor out = shape.size() == 1 ? allocate({shape[0]}) : allocate({shape[0], shape[1]});
    upload(name, out);
    return out;
  }

  // Uploads the named tensors one below the other and returns the row behind the last.
  int64_t stack(int64_t layer, std::initializer_list<std::string_view> parts, const Tensor& out,
                int64_t row) {
    for (const std::string_view part : parts) {
      const std::string name = layer_tensor(layer, part);
      const int64_t rows = shapes_.at(name)[0];
      upload(name, out.rows(row, rows));
      row += rows;
    }
    return row;
  }

  void load_layer(int64_t i) {
    const ModelConfig& config = weights_.config;
    const auto load_part = [&](std::string_view part) {
      return load_tensor(layer_tensor(i, part));
    };
    LayerWeights layer;
    layer.attention_norm = load_part("input_layernorm.weight");
    load_fused(i, &layer);
    if (config.coda) {
      layer.theta = allocate({config.heads, config.head_dim / 2}, wide(ops_.activation()));
      upload(layer_tensor(i, "self_attn.theta"), layer.theta);
    }
    if (config.summary_eta) layer.summary_eta = load_summary_eta(i);
    if (config.head_norm) layer.head_norm = load_part("self_attn.head_norm.weight");
    layer.output = load_part("self_attn.o_proj.weight");
    if (config.attention_bias) layer.output_bias = load_part("self_attn.o_proj.bias");
    layer.ffn_norm = load_part("post_attention_layernorm.weight");
    layer.gate_up = allocate({2 * config.ffn, config.hidden});
    stack(i, {"mlp.gate_proj.weight", "mlp.up_proj.weight"}, layer.gate_up, 0);
    layer.down = load_part("mlp.down_proj.weight");
    weights_.layers.push_back(layer);
  }

  // One matrix for everything that is projected from the same input: one GEMM a layer.
  void load_fused(int64_t i, LayerWeights* layer) {
    const ModelConfig& config = weights_.config;
    layer->fused = allocate({config.fused_width(), config.hidden});
    int64_t row =
        stack(i, {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"},
              layer->fused, 0);
    if (config.coda) row = stack(i, {"self_attn.lambda_proj.weight"}, layer->fused, row);
    if (config.write_gate) row = stack(i, {"self_attn.write_proj.weight"}, layer->fused, row);
    KVG_CHECK(row == config.fused_width(), "every row of the fused projection is filled");
    if (!config.attention_bias && !config.coda && !config.write_gate) return;
    layer->fused_bias = allocate({config.fused_width()});  // zeros where there is no bias
    row = config.q_width() + 2 * config.kv_width();
    if (config.attention_bias) {
      stack(i, {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"},
            layer->fused_bias, 0);
    }
    if (config.coda) row = stack(i, {"self_attn.lambda_proj.bias"}, layer->fused_bias, row);
    if (config.write_gate) stack(i, {"self_attn.write_proj.bias"}, layer->fused_bias, row);
  }

  // Read on the host by the bank update, whatever the set of operations.
  Tensor load_summary_eta(int64_t i) {
    const Tensor logits = checked(layer_tensor(i, "self_attn.summary_eta_logit"));
    std::vector<double>& rates =
        weights_.host_memory.emplace_back(static_cast<size_t>(logits.elements()));
    const Tensor out(rates.data(), DType::f64, Device::cpu, {logits.elements()});
    convert(logits, out);
    for (double& rate : rates) rate = 1.0 / (1.0 + std::exp(-rate));
    return out;
  }

  const Checkpoint& checkpoint_;
  Ops& ops_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  Weights weights_;
};

}  // namespace

Weights Weights::load(const Checkpoint& checkpoint, Ops& ops) {
  return Loader(checkpoint, ops).load();
}

}  // namespace kvg
