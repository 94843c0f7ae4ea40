#include "cli/loaded_model.h"

#include "bench/latency/sliced_checkpoint.h"
#include "cli/options.h"

#include <cstdio>

#ifdef KVG_WITH_CUDA
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"
#endif

namespace kvg::cli {

CLI::Option* add_model_options(CLI::App& app, ModelOptions& options) {
  CLI::Option* model = option(app, "--model", options.model,
                              "folder, llama2.c file, zoo model or preset (see ls models)");
  option(app, "--model-seed", options.model_seed, "of a preset's random weights");
  option(app, "--adapters", options.adapters,
         "coda_adapters.pt of coda-gqa-l in place of the model's attention");
  option(app, "--missing-gates", options.missing_gates,
         "write gates the adapters lack: init (as published, 0.12 for all) or one")
      ->check(CLI::IsMember({"init", "one"}));
  option(app, "--ops", options.ops,
         "set of operations: cpu (fp32), reference (double), cuda (bf16); auto: the fastest here")
      ->check(CLI::IsMember({"auto", "cpu", "reference", "cuda"}));
  option(app, "--threads", options.threads, "of the cpu operations; 0: all cores")
      ->check(CLI::Range(0, 1024));
  option(app, "--rope-base", options.rope_base, "overrides the checkpoint's; 0: keep")
      ->check(CLI::Range(0.0, 1e12));
  flag(app, "--rope-bf16", options.rope_bf16, "compute RoPE angles in bf16 (a published defect)");
  return model;
}

std::unique_ptr<Ops> make_ops(const std::string& name, int threads, bool nvtx) {
  if (nvtx && name != "cuda") {
    throw Error("--nvtx", "operations", name, "cuda, and a GPU: ranges are for Nsight");
  }
  if (name == "reference") return make_reference_ops();
  if (name == "cpu") return make_cpu_ops(threads);
#ifdef KVG_WITH_CUDA
  CudaOpsOptions options;
  options.ranges = nvtx;
  return make_cuda_ops(options);
#else
  throw Error("--ops", "", "'" + name + "'", "cpu or reference (this program has no CUDA)");
#endif
}

std::string best_ops(const ModelConfig& config) {
#ifdef KVG_WITH_CUDA
  const bool fits = config.head_dim == 64 || config.head_dim == 128;
  if (fits && !cuda::devices().empty()) return "cuda";
#else
  (void)config;
#endif
  return "cpu";
}

int64_t chunk_or_default(int64_t chunk, const Ops& ops) {
  if (chunk > 0) return chunk;
  return ops.device() == Device::cpu ? 512 : 4096;
}

namespace {

void apply_adapters(const ModelOptions& options, LoadedModel* model) {
  const bool one = options.missing_gates == "one";
  if (options.adapters.empty()) {
    if (one) throw Error("--missing-gates", "", "one without adapters", "--adapters FILE");
    return;
  }
  CodaAdapters adapters = open_coda_adapters(
      std::move(model->checkpoint), options.adapters,
      {options.rope_base, options.rope_bf16, one ? MissingGates::one : MissingGates::init});
  model->checkpoint = std::move(adapters.checkpoint);
  model->assumptions = std::move(adapters.assumptions);
}

void say_assumptions(const ModelOptions& options, const LoadedModel& model) {
  for (const Assumption& assumed : model.assumptions) {
    std::fprintf(stderr, "kvgauge: %s: assumed %s %s: %s\n", printable(options.adapters).c_str(),
                 assumed.setting.c_str(), assumed.value.c_str(), assumed.reason.c_str());
  }
}

}  // namespace

LoadedModel load_model(const ModelOptions& options) {
  LoadedModel model;
  model.checkpoint = Checkpoint::open(options.model, options.model_seed);
  apply_adapters(options, &model);
  model.full_layers = model.checkpoint->config().layers;
  if (options.layers > 0) {
    model.checkpoint = slice_layers(std::move(model.checkpoint), options.layers);
  }
  if (const auto path = model.checkpoint->tokenizer_path(); !path.empty()) {
    model.tokenizer = Tokenizer::open(path);
  }
  const std::string name =
      options.ops == "auto" ? best_ops(model.checkpoint->config()) : options.ops;
  model.ops = make_ops(name, options.threads, options.nvtx);
  model.weights = Weights::load(*model.checkpoint, *model.ops);
  RopeSettings& rope = model.weights.config.rope;
  if (options.rope_base > 0) rope.base = options.rope_base;
  if (options.rope_bf16) rope.bf16_angles = true;
  if (!options.quiet) say_assumptions(options, model);
  return model;
}

const Tokenizer& require_tokenizer(const LoadedModel& model) {
  if (!model.tokenizer) {
    throw Error(model.weights.config.name, "tokenizer", "none",
                "a tokenizer.model beside the weights (random presets have none)");
  }
  return *model.tokenizer;
}

}  // namespace kvg::cli
