#include "model/formats/hf_base.h"

#include "base/error.h"
#include "base/names.h"
#include "model/checkpoint.h"
#include "model/formats/mapped_file.h"
#include "model/formats/zoo.h"

#include <system_error>

#include <fmt/format.h>

namespace kvg {

std::filesystem::path find_hf_base(const HfBase& base, const std::filesystem::path& folder) {
  const std::string where = (folder / "config.json").string();
  std::filesystem::path found = find_zoo_model(base.source);
  if (found.empty()) found = folder / base.source;
  std::error_code unreadable;
  if (!std::filesystem::is_regular_file(found / "config.json", unreadable)) {
    throw Error(where, "kvgauge.base",
                "'" + base.source + "', where no model is" + did_you_mean(base.source, zoo_names()),
                "a model of the zoo, or the path of a Hugging Face folder seen from this one");
  }
  if (std::filesystem::equivalent(found, folder, unreadable)) {
    throw Error(where, "kvgauge.base", "'" + base.source + "', which is this folder",
                "another folder, to take the missing tensors from");
  }
  const std::string config = (found / "config.json").string();
  if (parse_hf_base(MappedFile(config).text(), config)) {
    throw Error(where, "kvgauge.base", "'" + base.source + "', which has a base of its own",
                "a model that holds all of its tensors");
  }
  return found;
}

void require_geometry_of_base(const ModelConfig& config, const ModelConfig& base,
                              const std::string& where) {
  const auto require_same = [&](const char* key, const auto& own, const auto& of_base) {
    if (own == of_base) return;
    throw Error(where, key, fmt::format("{}", own),
                fmt::format("{}, as in its base {}", of_base, base.name));
  };
  require_same("hidden_size", config.hidden, base.hidden);
  require_same("num_hidden_layers", config.layers, base.layers);
  require_same("num_attention_heads", config.heads, base.heads);
  require_same("num_key_value_heads", config.kv_heads, base.kv_heads);
  require_same("head_dim", config.head_dim, base.head_dim);
  require_same("intermediate_size", config.ffn, base.ffn);
  require_same("vocab_size", config.vocab, base.vocab);
  require_same("rope_theta", config.rope.base, base.rope.base);
  require_same("rms_norm_eps", config.rms_eps, base.rms_eps);
  require_same("tie_word_embeddings", config.tied_head, base.tied_head);
}

}  // namespace kvg
