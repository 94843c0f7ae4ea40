#include "cli/inspect_logits.h"

#include "cli/loaded_model.h"
#include "cli/options.h"
#include "model/formats/safetensors.h"
#include "model/prompt_logits.h"

#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  ModelOptions model;
  std::string method = "full";
  std::string tokens;
  std::string out = "logits.safetensors";
  int64_t chunk = 0;
};

void run(const Options& options) {
  const SafetensorsFile file(options.tokens);
  const Tensor tokens = file.tensor("tokens");
  if (tokens.dtype != DType::i32 || tokens.rank != 1 || tokens.elements() == 0) {
    throw Error(options.tokens, "tokens", "another shape or type", "I32 [1 or more]");
  }
  const LoadedModel model = load_model(options.model);
  const int64_t vocab = model.weights.config.vocab;
  const std::span<const int32_t> ids(tokens.as<int32_t>(), static_cast<size_t>(tokens.elements()));
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab) {
      throw Error(options.tokens, "tokens", std::to_string(id),
                  "0 to " + std::to_string(vocab - 1));
    }
  }
  PromptLogits prompt_logits(model.weights, *model.ops, Method::parse(options.method).canonical(),
                             std::ssize(ids), chunk_or_default(options.chunk, *model.ops));
  std::vector<float> logits = prompt_logits.of(ids);
  const Tensor out(logits.data(), DType::f32, Device::cpu, {std::ssize(ids), vocab});
  write_safetensors(options.out, {{"logits", out}});
  std::printf("%s: logits [%zu, %lld], operations %s\n", options.out.c_str(), ids.size(),
              static_cast<long long>(vocab), std::string(model.ops->name()).c_str());
}

}  // namespace

void add_inspect_logits(CLI::App& inspect) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      *inspect.add_subcommand("logits", "Logits after every token of a text, as a file");
  add_model_options(command, options->model);
  option(command, "--method", options->method, "retention(args)+codec(args), see ls methods");
  option(command, "--tokens", options->tokens, "safetensors file with `tokens`, I32 [n]")
      ->required();
  option(command, "--out", options->out, "safetensors file to write: `logits`, F32 [n, vocab]");
  option(command, "--chunk", options->chunk, "tokens a call; 0: 512, on a GPU 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  command.callback([options] { run(*options); });
}

}  // namespace kvg::cli
