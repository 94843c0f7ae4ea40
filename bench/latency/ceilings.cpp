#include "bench/latency/ceilings.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace kvg {

namespace {

constexpr int kRuns = 7;

// Seconds of the best of kRuns batches of `repeats` runs each.
double best_of(Ops& ops, int repeats, const std::function<void()>& work) {
  timed(ops, work);
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    const double seconds = timed(ops, [&] {
      for (int i = 0; i < repeats; ++i) work();
    });
    best = run == 0 ? seconds / repeats : std::min(best, seconds / repeats);
  }
  return best;
}

// A tensor [rows, columns] of the given type with values in [-1, 1]: zeros would run faster than
// real numbers do on some machines.
Tensor random_tensor(Ops& ops, Buffer& memory, DType dtype, int64_t rows, int64_t columns,
                     Random* random) {
  std::vector<float> values(static_cast<size_t>(rows * columns));
  for (float& value : values) {
    value = static_cast<float>(random->next_u32() >> 8) * 0x1p-23f - 1.0f;
  }
  const Tensor tensor(memory.data(), dtype, ops.device(), {rows, columns});
  ops.upload(Tensor(values.data(), DType::f32, Device::cpu, {rows, columns}), tensor);
  return tensor;
}

}  // namespace

double timed(Ops& ops, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  ops.synchronize();
  const Clock::time_point begin = Clock::now();
  work();
  ops.synchronize();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

MachineCeilings measure_ceilings(Ops& ops, uint64_t seed) {
  const bool gpu = ops.device() != Device::cpu;
  const uint64_t available = ops.available_memory();
  MachineCeilings ceilings;
  {
    const size_t bytes =
        std::min<size_t>(gpu ? size_t{2} << 30 : size_t{64} << 20, available / 8 / 4096 * 4096);
    const auto from = ops.allocate(bytes), to = ops.allocate(bytes);
    const double seconds =
        best_of(ops, gpu ? 4 : 1, [&] { ops.copy(to->data(), from->data(), bytes); });
    ceilings.copy_bytes = static_cast<int64_t>(2 * bytes);
    ceilings.copy_bytes_per_second = static_cast<double>(ceilings.copy_bytes) / seconds;
  }
  int64_t n = gpu ? 8192 : ops.weight() == DType::f64 ? 96 : 768;
  while (n > 32 && 3 * static_cast<uint64_t>(n * n) * sizeof(double) > available / 2) n /= 2;
  const auto area = static_cast<size_t>(n * n);
  const auto x = ops.allocate(area * dtype_size(ops.activation()));
  const auto weight = ops.allocate(area * dtype_size(ops.weight()));
  const auto out = ops.allocate(area * dtype_size(ops.activation()));
  Random random(mix_seed({seed, name_seed("ceilings")}));
  LinearParams product;
  product.x = random_tensor(ops, *x, ops.activation(), n, n, &random);
  product.weight = random_tensor(ops, *weight, ops.weight(), n, n, &random);
  product.out = Tensor(out->data(), ops.activation(), ops.device(), {n, n});
  const double seconds = best_of(ops, gpu ? 10 : 1, [&] { ops.linear(product); });
  ceilings.linear_flops_per_second = 2.0 * std::pow(static_cast<double>(n), 3) / seconds;
  ceilings.linear_shape = {n, n, n};
  return ceilings;
}

}  // namespace kvg
