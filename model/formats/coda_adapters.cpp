#include "model/formats/coda_adapters.h"

#include "base/error.h"
#include "base/names.h"
#include "base/sha256.h"
#include "model/formats/torch_file.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include <fmt/format.h>

namespace kvg {

namespace {

constexpr std::string_view kFileName = "coda_adapters.pt";
constexpr std::string_view kPrefix = "coda.";
constexpr float kInitialGateBias = -2;  // of the package's write_proj; its weight is 0

// Tensors of a layer, under the project's names ("self_attn." + part). Optional ones must be in
// every layer or in none.
struct Part {
  std::string_view name;
  bool required;
};
constexpr std::array<Part, 15> kParts = {{{"q_proj.weight", true},
                                          {"k_proj.weight", true},
                                          {"v_proj.weight", true},
                                          {"o_proj.weight", true},
                                          {"q_proj.bias", false},
                                          {"k_proj.bias", false},
                                          {"v_proj.bias", false},
                                          {"o_proj.bias", false},
                                          {"theta", true},
                                          {"lambda_proj.weight", true},
                                          {"lambda_proj.bias", true},
                                          {"write_proj.weight", false},
                                          {"write_proj.bias", false},
                                          {"summary_eta_logit", false},
                                          {"head_norm.weight", false}}};

class CodaCheckpoint final : public Checkpoint {
 public:
  CodaCheckpoint(std::unique_ptr<Checkpoint> base, const std::filesystem::path& path,
                 const CodaAdapterSettings& settings)
      : base_(std::move(base)), settings_(settings), file_(path), config_(base_->config()) {
    if (config_.coda) {
      throw Error(config_.name, "attention", "coda", "a base model with plain attention");
    }
    for (int64_t layer = 0; layer < config_.layers; ++layer) place_layer(layer);
    refuse_other_layers();
    check_layers_alike();
    configure();
  }

  const ModelConfig& config() const override { return config_; }
  std::filesystem::path tokenizer_path() const override { return base_->tokenizer_path(); }

  bool has(const std::string& name) const override {
    return entries_.contains(name) || initial_gate(name) || base_->has(name);
  }

  Tensor tensor(const std::string& name) const override {
    if (const auto found = entries_.find(name); found != entries_.end()) {
      return file_.tensor(*found->second);
    }
    if (const Tensor gate = initial_gate(name)) return gate;
    return base_->tensor(name);
  }

  void release(const std::string& name) const override {
    if (const auto found = entries_.find(name); found != entries_.end()) {
      file_.release(*found->second);
    } else if (!initial_gate(name)) {
      base_->release(name);
    }
  }

  std::string where(const std::string& name) const override {
    return entries_.contains(name) ? file_.path().string() : base_->where(name);
  }

  std::string hash() const override {
    const std::lock_guard lock(hash_mutex_);
    if (hash_.empty()) {
      hash_ = sha256(fmt::format("base {}\nadapters {}\ngates {}\n", base_->hash(),
                                 sha256_file(file_.path()),
                                 initial_gates_ ? "initial" : "as in the file"));
    }
    return hash_;
  }

  // What configure() decided without being told.
  std::vector<Assumption> assumptions() const {
    std::vector<Assumption> list;
    if (settings_.rope_base == 0) {
      list.push_back({"rope_base", fmt::format("{}", config_.rope.base),
                      "the base model's; the published script fixes 10000 in its bounded phase "
                      "(--rope-base)"});
    }
    if (!settings_.rope_bf16) {
      list.push_back(
          {"rope_angles", "exact", "published runs in bf16 computed them in bf16 (--rope-bf16)"});
    }
    if (!in_file("write_proj.weight")) {
      list.push_back({"write_gates", initial_gates_ ? "0.1192" : "1",
                      initial_gates_ ? "for every token, as the published loader leaves them "
                                       "(--missing-gates)"
                                     : "for every token (--missing-gates)"});
    }
    if (!in_file("summary_eta_logit")) {
      list.push_back({"summary_rate", "0.0474",
                      "of every head, as the published loader leaves it (the method's eta)"});
    }
    if (!config_.head_norm) {
      list.push_back({"head_norm", "identity", "the file has no weights of one"});
    }
    list.push_back({"pairs", "half-split RoPE and interleaved theta",
                    "as in the published adapter for Llama and Mistral"});
    return list;
  }

 private:
  bool in_file(std::string_view part) const {
    return entries_.contains(layer_tensor(0, "self_attn." + std::string(part)));
  }

  static std::string group_name(int64_t layer) { return fmt::format("layer_{}", layer); }

  // A dictionary has the layers' names, a list their numbers.
  TorchGroups::const_iterator find_group(int64_t layer) const {
    const TorchGroups& groups = file_.groups();
    const auto found = groups.find(group_name(layer));
    return found != groups.end() ? found : groups.find(std::to_string(layer));
  }

  void place_layer(int64_t layer) {
    const std::string path = file_.path().string();
    const auto group = find_group(layer);
    if (group == file_.groups().end()) {
      throw Error(path, group_name(layer), fmt::format("none of {}", file_.groups().size()),
                  fmt::format("the {} layers of {}", config_.layers, config_.name));
    }
    for (const auto& [name, entry] : group->second) {
      const auto* part = std::find_if(kParts.begin(), kParts.end(), [&](const Part& known) {
        return name.starts_with(kPrefix) && known.name == std::string_view(name).substr(5);
      });
      if (part == kParts.end()) {
        std::vector<std::string> known;
        for (const Part& one : kParts)
          known.push_back(std::string(kPrefix) + std::string(one.name));
        throw Error(path, group_name(layer), "tensor " + name + did_you_mean(name, known),
                    "only " + join(known));
      }
      entries_[layer_tensor(layer, "self_attn." + std::string(part->name))] = &entry;
    }
  }

  void refuse_other_layers() const {
    if (std::ssize(file_.groups()) == config_.layers) return;
    throw Error(file_.path().string(), "layers", std::to_string(file_.groups().size()),
                fmt::format("the {} layers of {}", config_.layers, config_.name));
  }

  void check_layers_alike() const {
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      for (const Part& part : kParts) {
        const std::string name = layer_tensor(layer, "self_attn." + std::string(part.name));
        if (entries_.contains(name) == (part.required || in_file(part.name))) continue;
        const std::string tensor = fmt::format("{}{}", kPrefix, part.name);
        throw Error(file_.path().string(), group_name(layer),
                    (part.required || in_file(part.name) ? "no " : "a ") + tensor,
                    part.required ? "it in every layer" : "all layers alike");
      }
    }
    if (in_file("write_proj.weight") != in_file("write_proj.bias")) {
      throw Error(file_.path().string(), "coda.write_proj", "only one of weight and bias",
                  "both or neither");
    }
  }

  void configure() {
    const bool gates = in_file("write_proj.weight");
    if (gates && settings_.missing_gates == MissingGates::one) {
      throw Error("--missing-gates", "", "one, and gates in " + file_.path().string(),
                  "it for adapters without write_proj");
    }
    initial_gates_ = !gates && settings_.missing_gates == MissingGates::init;
    config_.name += "+" + file_.path().stem().string();
    config_.coda = true;
    config_.attention_bias = config_.attention_bias || in_file("q_proj.bias");
    config_.write_gate = gates || initial_gates_;
    config_.summary_eta = in_file("summary_eta_logit");
    config_.head_norm = in_file("head_norm.weight");
    if (settings_.rope_base > 0) config_.rope.base = settings_.rope_base;
    if (settings_.rope_bf16) config_.rope.bf16_angles = true;
    config_.validate(file_.path().string());
    if (initial_gates_) zeros_.assign(static_cast<size_t>(config_.hidden), 0.0f);
  }

  // The tensors of a gate that the file lacks; empty for every other name.
  Tensor initial_gate(const std::string& name) const {
    if (!initial_gates_ || name.find(".self_attn.write_proj.") == std::string::npos) return {};
    // Views are read-only by contract; Tensor has no const variant.
    if (name.ends_with(".bias")) {
      return {const_cast<float*>(&kInitialGateBias), DType::f32, Device::cpu, {1}};
    }
    return {const_cast<float*>(zeros_.data()), DType::f32, Device::cpu, {1, config_.hidden}};
  }

  std::unique_ptr<Checkpoint> base_;
  CodaAdapterSettings settings_;
  TorchFile file_;
  ModelConfig config_;
  std::map<std::string, const TorchEntry*> entries_;  // by the project's names
  bool initial_gates_ = false;
  std::vector<float> zeros_;
  mutable std::mutex hash_mutex_;
  mutable std::string hash_;
};

}  // namespace

CodaAdapters open_coda_adapters(std::unique_ptr<Checkpoint> base, const std::filesystem::path& path,
                                const CodaAdapterSettings& settings) {
  const std::filesystem::path file = std::filesystem::is_directory(path) ? path / kFileName : path;
  auto checkpoint = std::make_unique<CodaCheckpoint>(std::move(base), file, settings);
  std::vector<Assumption> assumptions = checkpoint->assumptions();
  return {std::move(checkpoint), std::move(assumptions)};
}

}  // namespace kvg
