#include "base/build_info.h"
#include "bench/kernels/harness.h"
#include "bench/kernels/regime.h"
#include "bench/peers/peer.h"
#include "evals/ranges.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/error.h"

#include <cstdio>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

namespace kvg {

namespace {

std::string cuda_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

void describe(const Workbench& bench) {
  int runtime = 0;
  KVG_CHECK_CUDA(cudaRuntimeGetVersion(&runtime));
  const BuildInfo& build = build_info();
  const GpuFacts facts = bench.monitor.facts();
  const GpuReading reading = bench.monitor.read();
  const std::string unknown = "unknown";
  benchmark::AddCustomContext("gpu", bench.context.device().name);
  benchmark::AddCustomContext("driver", facts.driver.empty() ? unknown : facts.driver);
  benchmark::AddCustomContext("cuda_runtime", cuda_version(runtime));
  benchmark::AddCustomContext("cudnn", cudnn_version());
  benchmark::AddCustomContext("power_limit_W",
                              facts.power_limit_watts ? number(*facts.power_limit_watts) : unknown);
  benchmark::AddCustomContext("sm_MHz_before", reading.sm_mhz ? number(*reading.sm_mhz) : unknown);
  benchmark::AddCustomContext("ceiling_copy_GB/s", number(bench.copy_bytes_per_second * 1e-9));
  benchmark::AddCustomContext("ceiling_gemm_TFLOP/s",
                              number(bench.linear_flops_per_second * 1e-12));
  benchmark::AddCustomContext("seed", std::to_string(bench.seed));
  benchmark::AddCustomContext("commit", build.commit + (build.dirty ? " (modified)" : ""));
  benchmark::AddCustomContext("compiler", build.compiler);
  benchmark::AddCustomContext("flags", build.flags);
}

// Takes `NAME=VALUE` out of the arguments; "" where there is none.
std::string take(const std::string& name, int* argc, char** argv) {
  std::string value;
  int kept = 1;
  for (int i = 1; i < *argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with(name + "=")) {
      value = argument.substr(name.size() + 1);
    } else {
      argv[kept++] = argv[i];
    }
  }
  *argc = kept;
  return value;
}

int run(int argc, char** argv) {
  const std::string regime_names = take("--regime", &argc, argv);
  const std::vector<Regime> regimes = parse_regimes(regime_names);
  const std::string seed = take("--seed", &argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  if (cuda::devices().empty()) {
    std::fputs("kernel_bench: no GPU, expected an NVIDIA GPU of compute capability 8.0 or later\n",
               stderr);
    return 1;
  }
  Workbench bench;
  if (!seed.empty()) bench.seed = static_cast<uint64_t>(parse_count(seed, "--seed", ""));
  add_pointwise(bench);
  add_linear(bench);
  add_codecs(bench);
  add_prefill(bench);
  add_decode(bench);
  add_landmark(bench);
  add_logits(bench);
  measure_ceilings(bench);
  describe(bench);
  benchmark::AddCustomContext("regimes", regime_names.empty() ? "none" : regime_names);
  register_benchmarks(bench, regimes);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace

}  // namespace kvg

int main(int argc, char** argv) {
  try {
    return kvg::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel_bench: %s\n", error.what());
    return 1;
  }
}
