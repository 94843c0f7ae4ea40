#include "bench/kernels/harness.h"
#include "kernels/cuda/fused/ops.h"

namespace kvg {

namespace {

struct Product {
  std::string name;
  int64_t out, in;
};

// Of one layer of Mistral-7B, and its head.
const std::vector<Product>& products() {
  static const std::vector<Product> kProducts = {{"qkv", 6144, 4096},
                                                 {"output", 4096, 4096},
                                                 {"gate_up", 28672, 4096},
                                                 {"down", 4096, 14336},
                                                 {"head", 32768, 4096}};
  return kProducts;
}

std::function<LinearParams(Tensors&)> product(int64_t rows, int64_t out, int64_t in) {
  return [=](Tensors& t) {
    LinearParams p;
    p.x = t.random(DType::bf16, {rows, in});
    p.weight = t.random(DType::bf16, {out, in});
    p.out = t.output(DType::bf16, {rows, out});
    return p;
  };
}

Operation<LinearParams> linear(Workbench& bench, cuda::LinearKernel kernel) {
  Operation<LinearParams> linear;
  linear.device = [&bench, kernel](LinearParams& p) { bench.linear.run(p, kernel); };
  linear.reference = [&bench](LinearParams& p) { bench.reference->linear(p); };
  linear.results = [](const LinearParams& p) { return std::vector<Tensor>{p.out}; };
  return linear;
}

std::function<GatedLinearParams(Tensors&)> gated_product(int64_t rows, int64_t ffn, int64_t in) {
  return [=](Tensors& t) {
    GatedLinearParams p;
    p.x = t.random(DType::bf16, {rows, in});
    p.weight = t.random(DType::bf16, {2 * ffn, in});
    p.gate_up = t.output(DType::bf16, {rows, 2 * ffn});
    p.out = t.output(DType::bf16, {rows, ffn});
    return p;
  };
}

Operation<GatedLinearParams> gated_linear(Workbench& bench, bool at_once) {
  Operation<GatedLinearParams> gated;
  gated.device = [&bench, at_once](GatedLinearParams& p) {
    if (at_once && bench.linear.run(p)) return;
    bench.linear.run({p.x, p.weight, Tensor(), p.gate_up}, cuda::LinearKernel::cublaslt);
    cuda::swiglu(bench.context, {p.gate_up, p.out});
  };
  gated.reference = [&bench](GatedLinearParams& p) { bench.reference->gated_linear(p); };
  gated.results = [](const GatedLinearParams& p) { return std::vector<Tensor>{p.out}; };
  return gated;
}

// `subject` beside the library on the same shapes.
template <typename Params>
void add_library(Subject& subject, const Operation<Params>& library,
                 const std::function<Params(Tensors&)>& make) {
  subject.contenders.push_back({"vs_peer",
                                "cuBLASLt",
                                [library, make](Tensors& t) { return work_of(library, make(t)); },
                                {}});
}

}  // namespace

void add_linear(Workbench& bench) {
  const auto gemv = linear(bench, cuda::LinearKernel::gemv);
  const auto wide = linear(bench, cuda::LinearKernel::wide);
  const auto library = linear(bench, cuda::LinearKernel::cublaslt);
  for (const auto& [name, out, in] : products()) {
    for (const int64_t rows : {1, 2, 4, 8}) {
      const auto make = product(rows, out, in);
      add_library(add<LinearParams>(bench, "gemv/" + name + "/rows:" + std::to_string(rows), gemv,
                                    product(rows, 65, 1000), make),
                  library, make);
    }
    for (const int64_t rows : {16, 32, 64, 128, 256}) {
      const auto make = product(rows, out, in);
      add_library(add<LinearParams>(bench, "wide/" + name + "/rows:" + std::to_string(rows), wide,
                                    product(rows, 328, 1000), make),
                  library, make);
    }
    add<LinearParams>(bench, "cublaslt/" + name + "/rows:8192", library, product(64, 72, 1024),
                      product(8192, out, in));
  }
  const auto gated = gated_linear(bench, true);
  const auto separate = gated_linear(bench, false);
  for (const int64_t rows : {16, 32, 64, 128, 256}) {
    const auto make = gated_product(rows, 14336, 4096);
    // The kernel of many rows is not for so few columns that most of the device would be idle.
    const auto small =
        rows <= 128 ? gated_product(rows, 328, 1000) : gated_product(rows, 14336, 72);
    add_library(add<GatedLinearParams>(bench, "gated_linear/rows:" + std::to_string(rows), gated,
                                       small, make),
                separate, make);
  }
}

}  // namespace kvg
