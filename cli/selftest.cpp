#include "base/names.h"
#include "base/random.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/options.h"
#include "cli/stop.h"
#include "model/gates.h"
#include "model/method.h"

#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  ModelOptions model;
  std::string methods;
  int64_t tokens = 192;
  double tolerance = 0;
};

std::vector<std::string> methods_of(const std::string& text) {
  std::vector<std::string> methods;
  for (const Method& method : parse_methods(text)) methods.push_back(method.canonical());
  return methods;
}

int run(const Options& options) {
  const LoadedModel model = load_model(options.model);
  const ModelConfig& config = model.weights.config;
  Random random(mix_seed({name_seed("selftest")}));
  std::vector<int32_t> tokens = {config.bos};
  while (std::ssize(tokens) < options.tokens) {
    tokens.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab))));
  }
  GateOptions gates;
  gates.methods = options.methods.empty() ? gate_methods() : methods_of(options.methods);
  gates.tolerance =
      options.tolerance > 0 ? options.tolerance : gate_tolerance(model.ops->activation());
  std::printf("model %s, operations %s, %lld tokens\n", config.name.c_str(),
              std::string(model.ops->name()).c_str(), static_cast<long long>(options.tokens));
  int failed = 0;
  int passed = 0;
  run_gates(model.weights, *model.ops, tokens, gates, [&](const GateResult& result) {
    std::printf("%-6s %-8s %9.2e (limit %.0e)  %s\n", result.passed ? "ok" : "FAILED",
                result.gate.c_str(), result.value, result.limit, result.method.c_str());
    std::fflush(stdout);
    ++(result.passed ? passed : failed);
    if (stop_requested()) throw Interrupted();
  });
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_selftest(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      *app.add_subcommand("selftest", "Prove on a model that no method is crippled");
  add_model_options(command, options->model);
  option(command, "--methods", options->methods, "list; default: every retention, small budgets");
  option(command, "--tokens", options->tokens, "length of the random text")
      ->check(CLI::Range(int64_t{64}, int64_t{1} << 20));
  option(command, "--tolerance", options->tolerance,
         "largest relative error; 0: 1e-9 in double, 1e-4 in fp32, 5e-2 in bf16");
  command.callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace kvg::cli
