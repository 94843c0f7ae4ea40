#include "base/memory.h"
#include "cli/commands.h"
#include "cli/inspect_cache.h"
#include "cli/inspect_logits.h"
#include "cli/options.h"
#include "cli/table.h"
#include "cli/text_file.h"
#include "datasets/generated/text.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"

#include <cstdio>

namespace kvg::cli {

namespace {

void inspect_model(const std::string& source) {
  const auto checkpoint = Checkpoint::open(source);
  const ModelConfig& config = checkpoint->config();
  Table table({"property", "value"}, 2);
  const auto row = [&table](const char* name, const std::string& value) {
    table.add({name, value});
  };
  row("name", config.name);
  row("architecture", config.architecture);
  row("attention", !config.coda            ? "gqa"
                   : config.add_second_map ? "coda (two streams, the second added)"
                                           : "coda (two streams)");
  row("parameters", with_commas(config.parameters()));
  row("layers", std::to_string(config.layers));
  row("hidden", std::to_string(config.hidden));
  row("query heads", std::to_string(config.heads));
  row("KV heads", std::to_string(config.kv_heads));
  row("head_dim", std::to_string(config.head_dim));
  row("ffn", std::to_string(config.ffn));
  row("vocabulary", std::to_string(config.vocab));
  row("context", std::to_string(config.max_positions));
  row("RoPE", std::to_string(config.rope.base) +
                  (config.rope.half_split ? ", pairs (i, i + d/2)" : ", pairs (2i, 2i + 1)"));
  row("head", config.tied_head ? "tied to the embedding" : "its own");
  row("write gate", config.write_gate ? "yes" : "no (every gate is 1)");
  row("hash", checkpoint->hash());
  std::fputs(table.text().c_str(), stdout);
}

struct TokensOptions {
  std::string model = "kvg-tiny";
  std::string text;
  std::string file;
};

void inspect_tokens(const TokensOptions& options) {
  const auto checkpoint = Checkpoint::open(options.model);
  const auto path = checkpoint->tokenizer_path();
  if (path.empty()) throw Error(options.model, "tokenizer", "none", "a model with a tokenizer");
  const auto tokenizer = Tokenizer::open(path);
  const std::string text = options.file.empty() ? options.text : read_text_file(options.file);
  const auto tokens = tokenizer->encode(text);
  for (const int32_t token : tokens)
    std::printf("%6d  %s\n", token, tokenizer->piece(token).c_str());
  std::printf(
      "%zu tokens, %.3f bytes a token\n", tokens.size(),
      tokens.empty() ? 0.0 : static_cast<double>(text.size()) / static_cast<double>(tokens.size()));
}

struct TextOptions {
  int64_t bytes = 4000;
  uint64_t seed = 0;
};

}  // namespace

void add_inspect(CLI::App& app, int&) {
  CLI::App& inspect =
      *app.add_subcommand("inspect", "Look into caches, models, tokens, generated text");
  inspect.require_subcommand(1);
  add_inspect_cache(inspect);
  add_inspect_logits(inspect);

  auto model = std::make_shared<std::string>("kvg-tiny");
  CLI::App& model_command = *inspect.add_subcommand("model", "Geometry and identity of a model");
  option(model_command, "--model", *model, "folder, llama2.c file, zoo model or preset");
  model_command.callback([model] { inspect_model(*model); });

  auto tokens = std::make_shared<TokensOptions>();
  CLI::App& tokens_command =
      *inspect.add_subcommand("tokens", "How a model's tokenizer cuts a text");
  option(tokens_command, "--model", tokens->model, "whose tokenizer");
  option(tokens_command, "--text", tokens->text, "the text");
  option(tokens_command, "--file", tokens->file, "or a file");
  tokens_command.callback([tokens] { inspect_tokens(*tokens); });

  auto text = std::make_shared<TextOptions>();
  CLI::App& text_command =
      *inspect.add_subcommand("text", "The text that tasks use when no other is given");
  option(text_command, "--bytes", text->bytes, "at least; documents are separated by NUL")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32));
  option(text_command, "--seed", text->seed, "of the text");
  text_command.callback([text] {
    const std::string content = generated_text(text->bytes, text->seed);
    std::fwrite(content.data(), 1, content.size(), stdout);
  });
}

}  // namespace kvg::cli
