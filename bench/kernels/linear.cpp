#include "bench/kernels/harness.h"

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

}  // namespace

void add_linear(Workbench& bench) {
  const auto gemv = linear(bench, cuda::LinearKernel::gemv);
  const auto library = linear(bench, cuda::LinearKernel::cublaslt);
  for (const auto& [name, out, in] : products()) {
    for (const int64_t rows : {1, 2, 4, 8}) {
      Subject& subject = add<LinearParams>(bench, "gemv/" + name + "/rows:" + std::to_string(rows),
                                           gemv, product(rows, 65, 1000), product(rows, out, in));
      const auto make = product(rows, out, in);
      subject.contenders.push_back(
          {"vs_peer",
           "cuBLASLt",
           [library, make](Tensors& t) { return work_of(library, make(t)); },
           {}});
    }
    for (const int64_t rows : {64, 8192}) {
      add<LinearParams>(bench, "cublaslt/" + name + "/rows:" + std::to_string(rows), library,
                        product(64, 72, 1024), product(rows, out, in));
    }
  }
}

}  // namespace kvg
