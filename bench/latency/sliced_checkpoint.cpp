#include "bench/latency/sliced_checkpoint.h"

#include "base/error.h"
#include "base/sha256.h"

#include <utility>

namespace kvg {

namespace {

class SlicedCheckpoint : public Checkpoint {
 public:
  SlicedCheckpoint(std::unique_ptr<Checkpoint> whole, int64_t layers)
      : whole_(std::move(whole)), config_(whole_->config()) {
    config_.layers = layers;
  }

  const ModelConfig& config() const override { return config_; }
  bool has(const std::string& name) const override { return whole_->has(name); }
  Tensor tensor(const std::string& name) const override { return whole_->tensor(name); }
  void release(const std::string& name) const override { whole_->release(name); }
  std::string where(const std::string& name) const override { return whole_->where(name); }
  std::filesystem::path tokenizer_path() const override { return whole_->tokenizer_path(); }
  std::string hash() const override {
    return sha256(whole_->hash() + " layers " + std::to_string(config_.layers));
  }

 private:
  std::unique_ptr<Checkpoint> whole_;
  ModelConfig config_;
};

}  // namespace

std::unique_ptr<Checkpoint> slice_layers(std::unique_ptr<Checkpoint> whole, int64_t layers) {
  const int64_t all = whole->config().layers;
  if (layers < 1 || layers > all) {
    throw Error(whole->config().name, "layers", std::to_string(layers),
                "1 to " + std::to_string(all));
  }
  if (layers == all) return whole;
  return std::make_unique<SlicedCheckpoint>(std::move(whole), layers);
}

}  // namespace kvg
