#include "base/memory.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/options.h"
#include "cli/stop.h"
#include "cli/text_file.h"
#include "model/session.h"

#include <chrono>
#include <cstdio>

#include <unistd.h>

namespace kvg::cli {

namespace {

struct Options {
  ModelOptions model;
  std::string method = "full";
  std::string prompt;
  std::string prompt_file;
  int64_t max_tokens = 128;
  int64_t context = 4096;
  int64_t chunk = 0;
  Sampling sampling;
};

// Prints what each new token adds to the text, as it comes.
class Printer {
 public:
  explicit Printer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void show(std::span<const int32_t> tokens) {
    const std::string text = tokenizer_.decode(tokens);
    // A token may be a part of a character; wait until the text only grows.
    if (text.size() < shown_.size() || text.compare(0, shown_.size(), shown_) != 0) return;
    std::fwrite(text.data() + shown_.size(), 1, text.size() - shown_.size(), stdout);
    std::fflush(stdout);
    shown_ = text;
  }

 private:
  const Tokenizer& tokenizer_;
  std::string shown_;
};

void run(const Options& options) {
  const LoadedModel model = load_model(options.model);
  const Tokenizer& tokenizer = require_tokenizer(model);
  std::vector<int32_t> prompt = tokenizer.encode(
      options.prompt_file.empty() ? options.prompt : read_text_file(options.prompt_file));
  if (tokenizer.bos() >= 0) prompt.insert(prompt.begin(), tokenizer.bos());
  if (prompt.empty()) throw Error("generate", "prompt", "nothing", "a prompt");

  const Session session(model.weights, *model.ops, Method::parse(options.method),
                        {chunk_or_default(options.chunk, *model.ops), options.context});
  const auto sequence = session.start();
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point a, Clock::time_point b) {
    return std::chrono::duration<double>(b - a).count();
  };
  const auto start = Clock::now();
  sequence->append(prompt);
  const auto prefilled = Clock::now();
  Printer printer(tokenizer);
  GenerateOptions generate;
  generate.max_tokens = std::min(options.max_tokens, options.context - sequence->length());
  generate.sampling = options.sampling;
  generate.stop = [&printer](std::span<const int32_t> tokens) {
    printer.show(tokens);
    return stop_requested();
  };
  const auto tokens = sequence->generate(generate);
  const auto end = Clock::now();
  std::fputc('\n', stdout);
  if (isatty(STDERR_FILENO) == 1) {
    std::fprintf(stderr,
                 "%s: prefill %zu tokens at %.0f tokens/s, decode %zu at %.0f tokens/s, cache %s\n",
                 session.method().c_str(), prompt.size(),
                 static_cast<double>(prompt.size()) / seconds(start, prefilled), tokens.size(),
                 static_cast<double>(tokens.size()) / seconds(prefilled, end),
                 format_bytes(static_cast<uint64_t>(sequence->bytes().total())).c_str());
  }
}

}  // namespace

void add_generate(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  CLI::App& command = *app.add_subcommand("generate", "Continue a text under one method");
  add_model_options(command, options->model);
  option(command, "--method", options->method, "retention(args)+codec(args), see ls methods");
  option(command, "--prompt", options->prompt, "text to continue");
  option(command, "--prompt-file", options->prompt_file, "file to continue instead");
  option(command, "--max-tokens", options->max_tokens, "tokens to generate")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  option(command, "--context", options->context, "longest sequence, prompt included")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  option(command, "--chunk", options->chunk, "prompt tokens a call; 0: 512, on a GPU 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  option(command, "--temperature", options->sampling.temperature, "0 is greedy")
      ->check(CLI::Range(0.0, 100.0));
  option(command, "--top-p", options->sampling.top_p, "nucleus sampling")
      ->check(CLI::Range(0.0, 1.0));
  option(command, "--seed", options->sampling.seed, "of the sampling");
  command.callback([options] { run(*options); });
}

}  // namespace kvg::cli
