#pragma once

#include "cli/loaded_model.h"
#include "evals/runner.h"

namespace kvg::cli {

// The model of an evaluation, from the command line's options. Everything that changes its numbers
// (set of operations, chunk, RoPE overrides) is part of the facts, so that it is part of the run's
// identity.
class CliModelSource : public ModelSource {
 public:
  // `chunk` 0: chunk_or_default(). `context`: the longest sequence that tasks may use; 0: what the
  // model was trained for.
  CliModelSource(const ModelOptions& options, int64_t chunk, int64_t context);

  const ModelFacts& facts() const override { return facts_; }
  const Tokenizer& tokenizer() const override { return require_tokenizer(model_); }
  std::string canonical(const std::string& method) const override;
  CacheBytes planned_bytes(const std::string& method, int64_t tokens) const override;
  std::unique_ptr<Subject> subject(const std::string& method, int64_t max_tokens) const override;

  int64_t chunk() const { return chunk_; }

  // Where the time of all operations went so far.
  OpsProfile profile() const { return model_.ops->profile(); }

 private:
  LoadedModel model_;
  int64_t chunk_;
  ModelFacts facts_;
};

}  // namespace kvg::cli
