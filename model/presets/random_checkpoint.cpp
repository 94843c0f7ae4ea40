#include "model/presets/random_checkpoint.h"

#include "base/error.h"
#include "base/random.h"
#include "base/sha256.h"

#include <array>
#include <cmath>
#include <map>
#include <mutex>

namespace kvg {

namespace {

// The sum of four bytes, centred: mean 0, variance 4 (256^2 - 1) / 12, near enough to normal and,
// unlike a normal deviate made with log and cos, the same with every mathematics library.
constexpr double kByteSumVariance = 4.0 * (256.0 * 256.0 - 1.0) / 12.0;

int centred_byte_sum(uint32_t word) {
  const uint32_t sum = (word & 0xff) + (word >> 8 & 0xff) + (word >> 16 & 0xff) + (word >> 24);
  return static_cast<int>(sum) - 510;
}

void fill_random(uint64_t seed, float deviation, std::vector<uint16_t>* out) {
  const auto scale = static_cast<float>(deviation / std::sqrt(kByteSumVariance));
  const auto blocks = static_cast<int64_t>(out->size() / 4 + 1);
#pragma omp parallel for schedule(static) if (blocks > (1 << 14))
  for (int64_t block = 0; block < blocks; ++block) {
    const std::array<uint32_t, 4> words = philox4x32(seed, static_cast<uint64_t>(block));
    const size_t first = static_cast<size_t>(block) * 4;
    for (size_t i = 0; i < 4 && first + i < out->size(); ++i) {
      (*out)[first + i] = float_to_bf16(scale * static_cast<float>(centred_byte_sum(words[i])));
    }
  }
}

// What the elements of a tensor are drawn from: mean and standard deviation.
struct Distribution {
  float mean = 0;
  float deviation = 0;
};

Distribution distribution_of(const TensorSpec& spec) {
  const auto named = [&](std::string_view part) { return spec.name.find(part) != spec.name.npos; };
  if (named("norm.weight")) return {1, 0};
  if (named("theta")) return {0, 0.5f};
  if (named("summary_eta_logit")) return {-3, 0};  // where published training starts
  if (named("bias")) return {0, 0.02f};
  return {0, static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.shape.back())))};
}

class RandomCheckpoint final : public Checkpoint {
 public:
  RandomCheckpoint(const ModelConfig& config, uint64_t seed) : config_(config), seed_(seed) {
    for (TensorSpec& spec : model_tensors(config_)) {
      std::string name = spec.name;
      specs_.emplace(std::move(name), std::move(spec));
    }
  }

  const ModelConfig& config() const override { return config_; }
  bool has(const std::string& name) const override { return specs_.contains(name); }
  std::string where(const std::string&) const override { return "preset " + config_.name; }
  std::filesystem::path tokenizer_path() const override { return {}; }

  Tensor tensor(const std::string& name) const override {
    const auto found = specs_.find(name);
    if (found == specs_.end()) {
      throw Error(where(name), "tensor " + name, "no such tensor", "one of the preset's geometry");
    }
    const TensorSpec& spec = found->second;
    Tensor view;
    view.dtype = DType::bf16;
    for (const int64_t extent : spec.shape) view.shape[static_cast<size_t>(view.rank++)] = extent;
    const std::lock_guard lock(mutex_);
    std::vector<uint16_t>& values = values_[name];
    if (values.empty()) draw(spec, view.elements(), &values);
    view.data = values.data();
    return view;
  }

  void release(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    values_.erase(name);
  }

  std::string hash() const override {
    return sha256("preset " + config_.name + " seed " + std::to_string(seed_));
  }

 private:
  void draw(const TensorSpec& spec, int64_t elements, std::vector<uint16_t>* values) const {
    const Distribution distribution = distribution_of(spec);
    try {
      values->assign(static_cast<size_t>(elements), float_to_bf16(distribution.mean));
    } catch (const std::bad_alloc&) {
      throw Error(where(spec.name), "tensor " + spec.name, "too little memory",
                  std::to_string(elements * 2) + " bytes");
    }
    if (distribution.deviation == 0) return;
    fill_random(mix_seed({seed_, name_seed(spec.name)}), distribution.deviation, values);
  }

  ModelConfig config_;
  uint64_t seed_;
  std::map<std::string, TensorSpec> specs_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::vector<uint16_t>> values_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_random(const ModelConfig& config, uint64_t seed) {
  return std::make_unique<RandomCheckpoint>(config, seed);
}

}  // namespace kvg
