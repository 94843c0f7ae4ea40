#pragma once

#include "bench/gpu_monitor.h"
#include "bench/gpu_timer.h"
#include "bench/kernels/regime.h"
#include "bench/kernels/tensors.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/gemm/linear.h"
#include "kernels/ops.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// One way to benchmark everything: a subject is verified on a small input against the double
// reference, then timed on a large one, cold and warm, beside its peers.
namespace kvg {

// Something to enqueue on the context's stream, again and again.
struct Work {
  std::function<void()> issue;
  // The launch may be recorded into a graph: nothing but launches, no tables from the host.
  bool recordable = true;
};

// A competitor on the same shapes.
struct Contender {
  std::string counter;  // "vs_peer": seconds of the contender over ours
  std::string name;
  std::function<Work(Tensors&)> make;
  // "" when it may be timed, otherwise why not: it is not here, or its results differ. Empty: its
  // parts are subjects themselves.
  std::function<std::string()> verify;
  mutable std::optional<std::string> verdict{};  // of verify(), which runs once
};

struct Subject {
  std::string name;
  std::function<std::string()> verify;  // "" or what is wrong
  std::function<Work(Tensors&)> make;
  std::vector<Contender> contenders;
  // Of one issue; asked of the launches' own declarations when negative.
  int64_t bytes = -1, flops = -1;
  mutable std::optional<std::string> verdict;  // of verify(), which runs once
};

// Everything that benchmarks share; one process, one GPU.
struct Workbench {
  Workbench();

  cuda::CudaContext context;
  cuda::Linear linear;
  std::unique_ptr<Ops> reference;
  GpuTimer timer;
  GpuMonitor monitor;
  uint64_t seed = 0;                 // of the order in which contenders take turns
  double copy_bytes_per_second = 0;  // ceilings, measured at the start
  double linear_flops_per_second = 0;
  std::vector<Subject> subjects;
};

void measure_ceilings(Workbench& bench);
// Each subject as NAME/cold and NAME/warm; in a regime as NAME/cold/REGIME, all of one regime
// before those of the next.
void register_benchmarks(Workbench& bench, const std::vector<Regime>& regimes);

// |a - b| / |b|, NaN when any value is.
double relative_error(const std::vector<double>& a, const std::vector<double>& b);

// How a kind of operation runs on either side, and what it leaves.
template <typename Params>
struct Operation {
  std::function<void(Params&)> device;
  std::function<void(Params&)> reference;
  std::function<std::vector<Tensor>(const Params&)> results;
  double tolerance = 1e-2;
  bool recordable = true;
};

// The same parameters made of either side's tensors, compared result by result.
template <typename Params>
std::string compare(Workbench& bench, const Operation<Params>& operation,
                    const std::function<Params(Tensors&)>& make) {
  const auto host = make_host_tensors(*bench.reference, 1);
  const auto device = make_device_tensors(bench.context, 1);
  Params expected = make(*host);
  Params actual = make(*device);
  operation.reference(expected);
  operation.device(actual);
  const std::vector<Tensor> right = operation.results(expected);
  const std::vector<Tensor> ours = operation.results(actual);
  for (size_t i = 0; i < right.size(); ++i) {
    const double error =
        relative_error(read(bench.context, ours[i]), read(bench.context, right[i]));
    if (!(error <= operation.tolerance)) {
      return "result " + std::to_string(i) + " differs from the reference by " +
             std::to_string(error) + " of its norm";
    }
  }
  return "";
}

template <typename Params>
Work work_of(const Operation<Params>& operation, Params params) {
  auto kept = std::make_shared<Params>(std::move(params));
  return {[operation, kept] { operation.device(*kept); }, operation.recordable};
}

// Verified as `small` makes it, timed as `large` does.
template <typename Params>
Subject& add(Workbench& bench, std::string name, const Operation<Params>& operation,
             std::function<Params(Tensors&)> small, std::function<Params(Tensors&)> large) {
  Subject subject;
  subject.name = std::move(name);
  subject.verify = [&bench, operation, small] { return compare(bench, operation, small); };
  subject.make = [operation, large](Tensors& tensors) {
    return work_of(operation, large(tensors));
  };
  bench.subjects.push_back(std::move(subject));
  return bench.subjects.back();
}

// The subjects, by what they are about.
void add_pointwise(Workbench& bench);
void add_linear(Workbench& bench);
void add_codecs(Workbench& bench);
void add_prefill(Workbench& bench);
void add_decode(Workbench& bench);
void add_landmark(Workbench& bench);
void add_logits(Workbench& bench);

}  // namespace kvg
