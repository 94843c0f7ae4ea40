#include "cli/loaded_model.h"

#include "cli/options.h"

namespace kvg::cli {

CLI::Option* add_model_options(CLI::App& app, ModelOptions& options) {
  CLI::Option* model = option(app, "--model", options.model,
                              "folder, llama2.c file, zoo model or preset (see ls models)");
  option(app, "--model-seed", options.model_seed, "of a preset's random weights");
  option(app, "--ops", options.ops, "set of operations: cpu (fp32) or reference (double)")
      ->check(CLI::IsMember({"cpu", "reference"}));
  option(app, "--threads", options.threads, "of the cpu operations; 0: all cores")
      ->check(CLI::Range(0, 1024));
  option(app, "--rope-base", options.rope_base, "overrides the checkpoint's; 0: keep")
      ->check(CLI::Range(0.0, 1e12));
  flag(app, "--rope-bf16", options.rope_bf16, "compute RoPE angles in bf16 (a published defect)");
  return model;
}

std::unique_ptr<Ops> make_ops(const std::string& name, int threads) {
  return name == "reference" ? make_reference_ops() : make_cpu_ops(threads);
}

LoadedModel load_model(const ModelOptions& options) {
  LoadedModel model;
  model.checkpoint = Checkpoint::open(options.model, options.model_seed);
  if (const auto path = model.checkpoint->tokenizer_path(); !path.empty()) {
    model.tokenizer = Tokenizer::open(path);
  }
  model.ops = make_ops(options.ops, options.threads);
  model.weights = Weights::load(*model.checkpoint, *model.ops);
  RopeSettings& rope = model.weights.config.rope;
  if (options.rope_base > 0) rope.base = options.rope_base;
  rope.bf16_angles = options.rope_bf16;
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
