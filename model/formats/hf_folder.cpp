#include "model/formats/hf_folder.h"

#include "base/error.h"
#include "base/names.h"
#include "base/sha256.h"
#include "model/formats/hf_base.h"
#include "model/formats/hf_config.h"
#include "model/formats/mapped_file.h"
#include "model/formats/safetensors.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace kvg {

namespace {

// "kvg-tiny" for "zoo/kvg-tiny", "zoo/kvg-tiny/" and "." inside it.
std::string folder_name(const std::filesystem::path& folder) {
  const std::filesystem::path full = std::filesystem::weakly_canonical(folder);
  return full.has_filename() ? full.filename().string() : full.string();
}

class HfFolder final : public Checkpoint {
 public:
  explicit HfFolder(const std::filesystem::path& folder)
      : folder_(folder), config_path_(folder / "config.json") {
    if (!std::filesystem::exists(config_path_)) {
      throw Error(folder.string(), "config.json", "no such file",
                  "a Hugging Face folder: config.json and *.safetensors");
    }
    const MappedFile config_file(config_path_);
    config_ = parse_hf_config(config_file.text(), config_path_.string());
    config_.name = folder_name(folder);
    tensors_ = std::make_unique<SafetensorsSet>(folder);
    const std::optional<HfBase> base = parse_hf_base(config_file.text(), config_path_.string());
    if (base) open_base(*base);
    read_optional_tensors();
    config_.validate(config_path_.string());
    for (const char* part :
         {"self_attn.theta", "self_attn.write_proj.weight", "self_attn.summary_eta_logit",
          "self_attn.head_norm.weight", "self_attn.q_proj.bias"}) {
      check_every_layer(part);
    }
    if (base_) refuse_tensors_of_no_use();
  }

  const ModelConfig& config() const override { return config_; }
  bool has(const std::string& name) const override { return tensors_->has(name) || in_base(name); }
  Tensor tensor(const std::string& name) const override {
    if (tensors_->has(name) || !base_) return tensors_->tensor(name);
    if (base_->has(name)) return base_->tensor(name);
    throw Error(where(name), "tensor " + name, "no such tensor",
                "it here or in " + base_->where(name));
  }
  void release(const std::string& name) const override {
    in_base(name) ? base_->release(name) : tensors_->release(name);
  }
  std::string where(const std::string& name) const override {
    return in_base(name) ? base_->where(name) : tensors_->file_of(name).string();
  }

  std::filesystem::path tokenizer_path() const override {
    const std::filesystem::path path = folder_ / "tokenizer.model";
    if (std::filesystem::exists(path)) return path;
    return base_ ? base_->tokenizer_path() : std::filesystem::path();
  }

  std::string hash() const override {
    const std::lock_guard lock(hash_mutex_);
    if (hash_.empty()) {
      std::string list = "config.json " + sha256_file(config_path_) + "\n";
      for (const std::filesystem::path& file : tensors_->files()) {
        list += file.filename().string() + " " + sha256_file(file) + "\n";
      }
      if (base_) list += "base " + base_->hash() + "\n";
      hash_ = sha256(list);
    }
    return hash_;
  }

 private:
  void open_base(const HfBase& base) {
    const std::filesystem::path folder = find_hf_base(base, folder_);
    if (!base.hash.empty()) require_hash(folder / "model.safetensors", base.hash);
    base_ = std::make_unique<HfFolder>(folder);
    require_geometry_of_base(config_, base_->config(), config_path_.string());
  }

  // A model trained over one base is another model over any other.
  void require_hash(const std::filesystem::path& file, const std::string& expected) const {
    const std::string found = sha256_file(file);
    if (found == expected) return;
    throw Error(file.string(), "SHA-256", found,
                expected + ", kvgauge.base_hash of " + config_path_.string());
  }

  // Whether the base gives the tensor.
  bool in_base(const std::string& name) const {
    return base_ && !tensors_->has(name) && base_->has(name);
  }

  // A name that the model does not know would leave the base's tensor in use without a word.
  void refuse_tensors_of_no_use() const {
    std::vector<std::string> known;
    for (TensorSpec& spec : model_tensors(config_)) known.push_back(std::move(spec.name));
    std::sort(known.begin(), known.end());
    for (const std::string& name : tensors_->names()) {
      if (std::binary_search(known.begin(), known.end(), name)) continue;
      throw Error(where(name), "tensor " + name,
                  "none that this model has" + did_you_mean(name, known),
                  "only tensors that take the place of the base's or add to them");
    }
  }

  bool in_first_layer(const char* part) const { return has(layer_tensor(0, part)); }

  // The optional parts are what the tensors say; where config.json names one, both must agree.
  void read_optional_tensors() {
    require_agreement("kvgauge.attention", config_.coda ? "coda" : "gqa", config_.coda,
                      "self_attn.theta");
    require_agreement("kvgauge.head_norm", config_.head_norm ? "true" : "false", config_.head_norm,
                      "self_attn.head_norm.weight");
    config_.write_gate = in_first_layer("self_attn.write_proj.weight");
    config_.summary_eta = in_first_layer("self_attn.summary_eta_logit");
    if (in_first_layer("self_attn.q_proj.bias")) config_.attention_bias = true;
  }

  void require_agreement(const char* key, const std::string& value, bool wanted,
                         const char* part) const {
    if (in_first_layer(part) == wanted) return;
    throw Error(config_path_.string(), key,
                value + (wanted ? " without tensor " : " beside tensor ") + layer_tensor(0, part),
                "config.json and the tensors of " + where(layer_tensor(0, part)) + " to agree");
  }

  void check_every_layer(const char* part) const {
    for (int64_t layer = 1; layer < config_.layers; ++layer) {
      const std::string name = layer_tensor(layer, part);
      if (has(name) == in_first_layer(part)) continue;
      throw Error(where(name), "tensor " + name, has(name) ? "it" : "no such tensor",
                  "all layers alike, and layer 0 has " + std::string(has(name) ? "none" : "it"));
    }
  }

  std::filesystem::path folder_;
  std::filesystem::path config_path_;
  ModelConfig config_;
  std::unique_ptr<SafetensorsSet> tensors_;
  std::unique_ptr<HfFolder> base_;  // of the tensors that are not in tensors_; null: none
  mutable std::mutex hash_mutex_;
  mutable std::string hash_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_hf_folder(const std::filesystem::path& folder) {
  return std::make_unique<HfFolder>(folder);
}

}  // namespace kvg
