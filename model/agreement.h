#pragma once

#include "kernels/ops.h"
#include "model/weights.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvg {

// A model on a set of operations.
struct ModelOnOps {
  const Weights* weights = nullptr;
  Ops* ops = nullptr;
};

// Where two greedy texts part.
struct TextDifference {
  int64_t prompt = 0;
  int64_t token = 0;  // of the text, from 0
  // By how much the expected set's logit of its own choice exceeds that of the other's, in nats:
  // small where the two choices are nearly as good.
  double margin = 0;
};

// How far two sets of operations agree on one model under one method.
struct Agreement {
  int64_t positions = 0;  // next-token distributions compared
  double mean_kl = 0;     // of KL(expected || actual), in nats
  double max_kl = 0;
  int64_t texts = 0;
  std::vector<TextDifference> differences;  // of greedy texts
};

// Compares the distributions after every token of every prompt, of each actual set with the
// expected one: [actual].
std::vector<Agreement> compare_distributions(const ModelOnOps& expected,
                                             std::span<const ModelOnOps> actual,
                                             const std::string& method,
                                             std::span<const std::vector<int32_t>> prompts);

// Adds greedy continuations of `new_tokens` tokens, decoded in batches.
void compare_texts(const ModelOnOps& expected, const ModelOnOps& actual, const std::string& method,
                   std::span<const std::vector<int32_t>> prompts, int64_t new_tokens,
                   Agreement* result);

// KL(p || q) in nats of two softmax distributions given as logits; infinite when one of them is
// not finite.
double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits);

}  // namespace kvg
