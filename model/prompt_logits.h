#pragma once

#include "kernels/ops.h"
#include "model/cache/policy.h"
#include "model/forward.h"
#include "model/weights.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kvg {

// The logits after every token of a text under one method: what comparisons of forward passes look
// at, where a Sequence only keeps the last ones.
class PromptLogits {
 public:
  // Texts of at most `longest` tokens, in calls of `chunk` tokens.
  PromptLogits(const Weights& weights, Ops& ops, const std::string& method, int64_t longest,
               int64_t chunk);

  // [tokens, vocab]
  std::vector<float> of(std::span<const int32_t> tokens);

 private:
  void append(const Tensor& logits, std::vector<float>* result) const;

  const Weights& weights_;
  Ops& ops_;
  std::unique_ptr<Policy> policy_;
  int64_t longest_;
  Forward forward_;
};

}  // namespace kvg
