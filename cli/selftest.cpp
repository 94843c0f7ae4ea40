#include "base/names.h"
#include "base/random.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/options.h"
#include "cli/rounded_ops.h"
#include "cli/stop.h"
#include "datasets/text.h"
#include "model/agreement.h"
#include "model/cache/policy.h"
#include "model/gates.h"
#include "model/method.h"

#include <algorithm>
#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  ModelOptions model;
  std::string methods;
  int64_t tokens = 0;
  double tolerance = 0;
  std::string against;
  int64_t prompts = 100;
  std::string text = "generated";
};

constexpr double kLargestMeanKl = 1e-3;  // nats
constexpr double kRoundings = 3;
constexpr int64_t kNewTokens = 32;

// Every retention at its default size, and a codec.
std::vector<std::string> full_size_methods() {
  std::vector<std::string> methods;
  for (const PolicyEntry& policy : policy_table()) methods.push_back(policy.name);
  methods.push_back("landmark+bank:eden(bits=4)");
  return methods;
}

std::vector<std::string> methods_of(const std::string& text) {
  std::vector<std::string> methods;
  for (const Method& method : parse_methods(text)) methods.push_back(method.canonical());
  return methods;
}

std::vector<int32_t> random_tokens(const ModelConfig& config, int64_t n, uint64_t seed) {
  Random random(mix_seed({name_seed("selftest"), seed}));
  std::vector<int32_t> tokens = {config.bos};
  while (std::ssize(tokens) < n) {
    tokens.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab))));
  }
  return tokens;
}

int run_all_gates(const LoadedModel& model, const Options& options) {
  GateOptions gates;
  gates.methods = options.methods.empty() ? gate_methods() : methods_of(options.methods);
  gates.tolerance =
      options.tolerance > 0 ? options.tolerance : gate_tolerance(model.ops->activation());
  int failed = 0;
  int passed = 0;
  const auto tokens = random_tokens(model.weights.config, options.tokens, 0);
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

// Prompts of different lengths, up to options.tokens: pieces of a text, or random tokens where the
// model has no tokenizer.
std::vector<std::vector<int32_t>> make_prompts(const LoadedModel& model, const Options& options) {
  const int64_t shortest = options.tokens / 4;
  const auto length = [&](int64_t i) {
    return shortest + i * 37 % (options.tokens - shortest + 1);
  };
  std::vector<std::vector<int32_t>> prompts;
  if (!model.tokenizer) {
    for (int64_t i = 0; i < options.prompts; ++i) {
      prompts.push_back(
          random_tokens(model.weights.config, length(i), static_cast<uint64_t>(i + 1)));
    }
    return prompts;
  }
  // A token is at most about eight bytes of ordinary text.
  const Text text = load_text(options.text, 8 * options.prompts * options.tokens, /*seed=*/0);
  const std::vector<int32_t> tokens = model.tokenizer->encode(text.content);
  std::span<const int32_t> rest = tokens;
  for (int64_t i = 0; i < options.prompts; ++i) {
    const auto n = static_cast<size_t>(length(i) - 1);
    if (rest.size() < n) {
      throw Error(text.name, "tokens", std::to_string(tokens.size()),
                  "enough for --prompts " + std::to_string(options.prompts));
    }
    prompts.push_back({model.weights.config.bos});
    prompts.back().insert(prompts.back().end(), rest.begin(),
                          rest.begin() + static_cast<std::ptrdiff_t>(n));
    rest = rest.subspan(n);
  }
  return prompts;
}

void print_agreement(const Agreement& result, double rounding, double limit, bool passed,
                     const std::string& method) {
  std::printf("%-6s texts equal %lld/%lld, KL mean %.2e (limit %.1e", passed ? "ok" : "FAILED",
              static_cast<long long>(result.texts - std::ssize(result.differences)),
              static_cast<long long>(result.texts), result.mean_kl, limit);
  if (rounding > 0) std::printf(", rounding alone %.2e", rounding);
  std::printf(") max %.2e  %s\n", result.max_kl, method.c_str());
  for (const TextDifference& difference : result.differences) {
    std::printf("       prompt %lld parts at token %lld, margin %.2e nats\n",
                static_cast<long long>(difference.prompt), static_cast<long long>(difference.token),
                difference.margin);
  }
  std::fflush(stdout);
}

int run_against(const LoadedModel& model, const Options& options) {
  ModelOptions judge_options = options.model;
  judge_options.ops = options.against;
  judge_options.quiet = true;  // the model itself has said it
  const LoadedModel judge = load_model(judge_options);
  const auto prompts = make_prompts(model, options);
  std::printf("against %s: %zu prompts of up to %lld tokens, then %lld greedy ones\n",
              options.against.c_str(), prompts.size(), static_cast<long long>(options.tokens),
              static_cast<long long>(kNewTokens));
  const ModelOnOps expected{&judge.weights, judge.ops.get()};
  RoundedOps rounded(*judge.ops, judge.weights);
  const bool rounds =
      model.ops->activation() == DType::bf16 && judge.ops->activation() == DType::f32;
  int failed = 0;
  for (const std::string& method :
       methods_of(options.methods.empty() ? join(full_size_methods(), ",") : options.methods)) {
    // Beside the set itself, what rounding to bf16 alone does to the judge.
    std::vector<ModelOnOps> actual = {{&model.weights, model.ops.get()}};
    if (rounds) actual.push_back({&judge.weights, &rounded});
    std::vector<Agreement> results = compare_distributions(expected, actual, method, prompts);
    Agreement& result = results.front();
    compare_texts(expected, actual.front(), method, prompts, kNewTokens, &result);
    // A lossy codec and the routing of a bank turn a rounding into another cell or another slot, so
    // they are given a few times what rounding does to them on the host.
    const double rounding = rounds ? results.back().mean_kl : 0;
    const double limit = std::max(kLargestMeanKl, kRoundings * rounding);
    const bool passed = result.mean_kl <= limit;
    failed += passed ? 0 : 1;
    print_agreement(result, rounding, limit, passed, method);
    if (stop_requested()) throw Interrupted();
  }
  return failed == 0 ? 0 : 1;
}

int run(Options options) {
  if (options.tokens == 0) options.tokens = options.against.empty() ? 192 : 768;
  const LoadedModel model = load_model(options.model);
  std::printf("model %s, operations %s, %lld tokens\n", model.weights.config.name.c_str(),
              std::string(model.ops->name()).c_str(), static_cast<long long>(options.tokens));
  return options.against.empty() ? run_all_gates(model, options) : run_against(model, options);
}

}  // namespace

void add_selftest(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      *app.add_subcommand("selftest", "Prove on a model that no method is crippled");
  add_model_options(command, options->model);
  option(command, "--methods", options->methods,
         "list; default: every retention, small, or with --against of its default size");
  option(command, "--tokens", options->tokens,
         "length of the random text (0: 192) or of the longest prompt (0: 768)")
      ->check(CLI::Range(int64_t{64}, int64_t{1} << 20) | CLI::IsMember({"0"}));
  option(command, "--tolerance", options->tolerance,
         "largest relative error; 0: 1e-9 in double, 1e-4 in fp32, 1e-1 in bf16");
  option(command, "--against", options->against,
         "another set of operations: compare distributions and greedy texts instead")
      ->check(CLI::IsMember({"cpu", "reference"}));
  option(command, "--prompts", options->prompts, "texts that --against compares")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  option(command, "--text", options->text, "of the prompts: generated, wikitext2 or a file");
  command.callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace kvg::cli
