#include "model/config.h"

#include "base/error.h"

#include <cmath>

#include <fmt/format.h>

namespace kvg {

namespace {

// Far beyond any published model; anything larger is a damaged file, and sums of products of such
// values stay below 2^63.
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxVocab = 10'000'000;
constexpr int64_t kMaxPositions = int64_t{1} << 40;

void require_range(const std::string& where, const char* key, int64_t value, int64_t minimum,
                   int64_t maximum) {
  if (value < minimum || value > maximum) {
    throw Error(where, key, fmt::format("{}", value), fmt::format("{} to {}", minimum, maximum));
  }
}

void require_token(const std::string& where, const char* key, int32_t value, int64_t vocab) {
  require_range(where, key, value, -1, vocab - 1);  // -1: none
}

}  // namespace

int64_t ModelConfig::parameters() const {
  int64_t layer = 2 * hidden;                      // norms
  layer += (q_width() + 2 * kv_width()) * hidden;  // q, k, v
  layer += hidden * q_width();                     // output
  layer += 3 * ffn * hidden;                       // gate, up, down
  if (attention_bias) layer += q_width() + 2 * kv_width() + hidden;
  if (coda) layer += int64_t{heads} * head_dim / 2 + heads * (hidden + 1);  // theta, lambda
  if (write_gate) layer += hidden + 1;
  if (summary_eta) layer += kv_heads;
  if (head_norm) layer += head_dim;
  return layers * layer + hidden + vocab * hidden * (tied_head ? 1 : 2);
}

void ModelConfig::validate(const std::string& where) const {
  if (architecture != "LlamaForCausalLM" && architecture != "MistralForCausalLM") {
    throw Error(where, "architecture", architecture.empty() ? "none" : architecture,
                "LlamaForCausalLM or MistralForCausalLM");
  }
  require_range(where, "hidden", hidden, 1, kMaxWidth);
  require_range(where, "layers", layers, 1, kMaxLayers);
  require_range(where, "heads", heads, 1, 1 << 14);
  require_range(where, "kv_heads", kv_heads, 1, heads);
  if (heads % kv_heads != 0) {
    throw Error(where, "heads", fmt::format("{} heads on {} KV heads", heads, kv_heads),
                "a multiple of the KV heads");
  }
  require_range(where, "head_dim", head_dim, 2, 1 << 14);
  if (head_dim % 2 != 0) {
    throw Error(where, "head_dim", fmt::format("{}", head_dim),
                "an even number (RoPE turns pairs)");
  }
  require_range(where, "heads x head_dim", q_width(), 1, kMaxWidth);
  require_range(where, "ffn", ffn, 1, kMaxWidth);
  require_range(where, "vocab", vocab, 1, kMaxVocab);
  require_range(where, "max_positions", max_positions, 0, kMaxPositions);
  require_range(where, "sliding_window", sliding_window, 0, kMaxPositions);
  if (!(rms_eps > 0 && rms_eps < 1)) {
    throw Error(where, "rms_eps", fmt::format("{}", rms_eps), "a number between 0 and 1");
  }
  if (!(rope.base >= 1 && std::isfinite(rope.base))) {
    throw Error(where, "rope base", fmt::format("{}", rope.base), "a number of at least 1");
  }
  require_token(where, "bos", bos, vocab);
  for (const int32_t token : eos) require_token(where, "eos", token, vocab);
  if (!coda && (head_norm || add_second_map)) {
    throw Error(where, head_norm ? "head_norm" : "add_second_map", "true",
                "it with the coda attention only");
  }
}

}  // namespace kvg
