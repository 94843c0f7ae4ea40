#include "model/formats/llama2c.h"

#include "base/error.h"
#include "base/sha256.h"
#include "model/formats/mapped_file.h"

#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

namespace kvg {

namespace {

static_assert(std::endian::native == std::endian::little, "the files are read in place");

constexpr uint32_t kMagic = 0x616b3432;  // "ak42"
constexpr int32_t kVersion = 1;
constexpr size_t kLegacyHeader = 7 * sizeof(int32_t);
constexpr size_t kVersion1Header = 256;

struct Part {
  size_t offset = 0;  // in the file
  std::vector<int64_t> shape;
};

class Llama2c final : public Checkpoint {
 public:
  explicit Llama2c(const std::filesystem::path& path) : file_(path) {
    std::array<int32_t, 2> start{};
    read(0, &start);
    const bool legacy = std::bit_cast<uint32_t>(start[0]) != kMagic;
    if (!legacy && start[1] != kVersion) {
      throw Error(path.string(), "version", std::to_string(start[1]), "1, or the legacy format");
    }
    read_header(legacy);
    for (TensorSpec& spec : model_tensors(config_)) shapes_[spec.name] = std::move(spec.shape);
    offset_ = legacy ? kLegacyHeader : kVersion1Header;
    legacy ? place_legacy() : place_version1();
    if (offset_ != file_.bytes().size()) {
      throw Error(path.string(), "", std::to_string(file_.bytes().size()) + " bytes",
                  std::to_string(offset_) + " bytes for the header's geometry");
    }
  }

  const ModelConfig& config() const override { return config_; }
  bool has(const std::string& name) const override { return parts_.contains(name); }
  std::string where(const std::string&) const override { return file_.path().string(); }

  Tensor tensor(const std::string& name) const override {
    const auto found = parts_.find(name);
    if (found == parts_.end()) {
      throw Error(where(name), "tensor " + name, "no such tensor", "one of a llama2.c file");
    }
    Tensor view;
    view.data = const_cast<std::byte*>(file_.bytes().data() + found->second.offset);
    view.dtype = DType::f32;
    for (const int64_t extent : found->second.shape) {
      view.shape[static_cast<size_t>(view.rank++)] = extent;
    }
    return view;
  }

  void release(const std::string& name) const override {
    if (has(name)) file_.drop_pages(parts_.at(name).offset, tensor(name).bytes());
  }

  std::filesystem::path tokenizer_path() const override {
    const std::filesystem::path path = file_.path().parent_path() / "tokenizer.bin";
    return std::filesystem::exists(path) ? path : std::filesystem::path();
  }

  std::string hash() const override { return sha256_file(file_.path()); }

 private:
  template <typename T>
  void read(size_t offset, T* out) const {
    if (file_.bytes().size() < offset + sizeof(T)) {
      throw Error(file_.path().string(), "header",
                  std::to_string(file_.bytes().size()) + " bytes in the file",
                  "a llama2.c checkpoint");
    }
    std::memcpy(out, file_.bytes().data() + offset, sizeof(T));
  }

  void read_header(bool legacy) {
    std::array<int32_t, 7> fields{};
    read(legacy ? 0 : 2 * sizeof(int32_t), &fields);
    uint8_t shared = 0;
    if (!legacy) read(2 * sizeof(int32_t) + sizeof(fields), &shared);
    config_.name = file_.path().stem().string();
    config_.architecture = "LlamaForCausalLM";
    config_.hidden = fields[0];
    config_.ffn = fields[1];
    config_.layers = fields[2];
    config_.heads = fields[3];
    config_.kv_heads = fields[4];
    config_.vocab = legacy ? std::abs(int64_t{fields[5]}) : fields[5];
    config_.max_positions = fields[6];
    config_.tied_head = legacy ? fields[5] > 0 : shared != 0;
    config_.rope.half_split = false;
    if (config_.heads < 1 || config_.hidden % config_.heads != 0) {
      throw Error(file_.path().string(), "heads", std::to_string(config_.heads),
                  "a divisor of the width " + std::to_string(config_.hidden));
    }
    config_.head_dim = static_cast<int>(config_.hidden / config_.heads);
    config_.validate(file_.path().string());
  }

  void place(const std::string& name) {
    const std::vector<int64_t>& shape = shapes_.at(name);
    parts_[name] = {offset_, shape};
    int64_t elements = 1;
    for (const int64_t extent : shape) elements *= extent;
    offset_ += static_cast<size_t>(elements) * sizeof(float);
  }
  void place_all_layers(std::string_view part) {
    for (int64_t layer = 0; layer < config_.layers; ++layer) place(layer_tensor(layer, part));
  }
  void place_attention() {
    for (const char* projection : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      place_all_layers(std::string("self_attn.") + projection + ".weight");
    }
  }
  void place_ffn() {
    for (const char* projection : {"gate_proj", "down_proj", "up_proj"}) {
      place_all_layers(std::string("mlp.") + projection + ".weight");
    }
  }

  void place_legacy() {
    place("model.embed_tokens.weight");
    place_all_layers("input_layernorm.weight");
    place_attention();
    place_all_layers("post_attention_layernorm.weight");
    place_ffn();
    place("model.norm.weight");
    // Two tables of cosines and sines, [context, head_dim / 2] each, which are computed here.
    offset_ += static_cast<size_t>(config_.max_positions * config_.head_dim) * sizeof(float);
    if (!config_.tied_head) place("lm_head.weight");
  }

  void place_version1() {
    place_all_layers("input_layernorm.weight");
    place_all_layers("post_attention_layernorm.weight");
    place("model.norm.weight");
    place("model.embed_tokens.weight");
    place_attention();
    place_ffn();
    if (!config_.tied_head) place("lm_head.weight");
  }

  MappedFile file_;
  ModelConfig config_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::map<std::string, Part> parts_;
  size_t offset_ = 0;  // where the next tensor starts
};

}  // namespace

std::unique_ptr<Checkpoint> open_llama2c(const std::filesystem::path& path) {
  return std::make_unique<Llama2c>(path);
}

}  // namespace kvg
