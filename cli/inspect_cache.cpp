#include "cli/inspect_cache.h"

#include "base/memory.h"
#include "cli/options.h"
#include "cli/table.h"
#include "evals/ranges.h"
#include "model/cache/policy.h"
#include "model/checkpoint.h"
#include "model/session.h"

#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  std::string preset;
  std::string model;
  std::string methods =
      "full,window(window=384),sinks(sinks=4,window=380),"
      "landmark(window=256,exact=64,summary=64,semantics=reference),"
      "landmark(window=256,exact=64,summary=64),full+fp8,full+int8,"
      "full+eden(bits=4)";
  std::string context = "2k,4k,128k";
  bool csv = false;
};

ModelConfig geometry_of(const Options& options) {
  if (!options.preset.empty()) return preset_config(options.preset);
  return Checkpoint::open(options.model.empty() ? "kvg-tiny" : options.model)->config();
}

std::string ratio_text(int64_t full, int64_t bytes) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2fx",
                static_cast<double>(full) / static_cast<double>(bytes));
  return text.data();
}

void run(const Options& options) {
  const ModelConfig config = geometry_of(options);
  const CacheGeometry geometry = cache_geometry(config);
  const std::vector<Method> methods = parse_methods(options.methods);
  const auto full = make_policy(Method::parse("full"));
  Table table({"context", "method", "slots", "B a layer", "keys", "values", "scales", "metadata",
               "B in all", "", "full/this"},
              2);
  for (const int64_t context : parse_counts(options.context, "inspect cache", "--context")) {
    if (context < 1)
      throw Error("inspect cache", "--context", std::to_string(context), "1 or more");
    const int64_t reference = full->bytes_per_layer(geometry, context).total();
    for (const Method& method : methods) {
      const auto policy = make_policy(method);
      const CacheBytes bytes = policy->bytes_per_layer(geometry, context);
      const int64_t all = bytes.total() * geometry.layers;
      table.add({std::to_string(context), method.canonical(), with_commas(policy->slots(context)),
                 with_commas(bytes.total()), with_commas(bytes.keys), with_commas(bytes.values),
                 with_commas(bytes.scales), with_commas(bytes.metadata), with_commas(all),
                 format_bytes(static_cast<uint64_t>(all)), ratio_text(reference, bytes.total())});
    }
  }
  if (options.csv) {
    std::fputs(table.csv().c_str(), stdout);
    return;
  }
  std::printf(
      "%s: %lld layers, %d KV heads, head_dim %d; one sequence; bf16 unless a codec is named\n\n",
      config.name.c_str(), static_cast<long long>(config.layers), config.kv_heads, config.head_dim);
  std::fputs(table.text().c_str(), stdout);
}

}  // namespace

void add_inspect_cache(CLI::App& inspect) {
  auto options = std::make_shared<Options>();
  CLI::App& command = *inspect.add_subcommand("cache", "Exact bytes of methods at a geometry");
  option(command, "--preset", options->preset, "geometry of a preset (see ls models)");
  option(command, "--model", options->model, "geometry of a model instead");
  option(command, "--methods", options->methods, "list");
  option(command, "--context", options->context, "tokens: list and ranges, 2k,4k..64k*2,128000");
  flag(command, "--csv", options->csv, "comma-separated instead of aligned");
  command.callback([options] { run(*options); });
}

}  // namespace kvg::cli
