#include "model/agreement.h"

#include "model/prompt_logits.h"
#include "model/session.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvg {

namespace {

constexpr int64_t kBatch = 32;  // texts decoded together

using Prompts = std::span<const std::vector<int32_t>>;

int64_t longest_of(Prompts prompts) {
  int64_t longest = 0;
  for (const std::vector<int32_t>& prompt : prompts) {
    KVG_CHECK(!prompt.empty(), "a prompt needs a token");
    longest = std::max(longest, static_cast<int64_t>(std::ssize(prompt)));
  }
  KVG_CHECK(longest > 0, "nothing to compare");
  return longest;
}

// Adds the divergences of `positions` distributions; mean_kl is their sum for now.
void add(std::span<const float> p, std::span<const float> q, size_t positions, Agreement* result) {
  const size_t vocab = p.size() / positions;
  for (size_t i = 0; i < positions; ++i) {
    const double kl = kl_divergence(p.subspan(i * vocab, vocab), q.subspan(i * vocab, vocab));
    result->mean_kl += kl;
    result->max_kl = std::max(result->max_kl, kl);
    ++result->positions;
  }
}

// Where `theirs` leaves `mine`, seen by the session that wrote `mine`.
TextDifference first_difference(const Session& session, std::span<const int32_t> prompt,
                                std::span<const int32_t> mine, std::span<const int32_t> theirs) {
  const auto at = std::mismatch(mine.begin(), mine.end(), theirs.begin()).first - mine.begin();
  const auto sequence = session.start();
  sequence->append(prompt);
  sequence->append(mine.first(static_cast<size_t>(at)));
  const std::vector<float> logits = sequence->logits();
  const auto logit = [&](std::span<const int32_t> text) {
    return double{logits[static_cast<size_t>(text[static_cast<size_t>(at)])]};
  };
  return {0, at, logit(mine) - logit(theirs)};
}

}  // namespace

std::vector<Agreement> compare_distributions(const ModelOnOps& expected,
                                             std::span<const ModelOnOps> actual,
                                             const std::string& method, Prompts prompts) {
  const int64_t longest = longest_of(prompts);
  PromptLogits p(*expected.weights, *expected.ops, method, longest, longest);
  std::vector<PromptLogits> q;
  for (const ModelOnOps& model : actual) {
    q.emplace_back(*model.weights, *model.ops, method, longest, longest);
  }
  std::vector<Agreement> results(actual.size());
  for (const std::vector<int32_t>& prompt : prompts) {
    const std::vector<float> p_logits = p.of(prompt);
    for (size_t i = 0; i < actual.size(); ++i)
      add(p_logits, q[i].of(prompt), prompt.size(), &results[i]);
  }
  for (Agreement& result : results) result.mean_kl /= static_cast<double>(result.positions);
  return results;
}

void compare_texts(const ModelOnOps& expected, const ModelOnOps& actual, const std::string& method,
                   Prompts prompts, int64_t new_tokens, Agreement* result) {
  const int64_t longest = longest_of(prompts);
  const SessionOptions options{longest, longest + new_tokens};
  const Session mine(*expected.weights, *expected.ops, Method::parse(method), options);
  const Session theirs(*actual.weights, *actual.ops, Method::parse(method), options);
  GenerateOptions generate;
  generate.max_tokens = new_tokens;
  generate.stop_at_eos = false;
  for (size_t begin = 0; begin < prompts.size(); begin += kBatch) {
    const Prompts part = prompts.subspan(begin, std::min<size_t>(kBatch, prompts.size() - begin));
    const std::vector<std::vector<int32_t>> batch(part.begin(), part.end());
    const auto a = mine.generate_batch(batch, generate);
    const auto b = theirs.generate_batch(batch, generate);
    for (size_t i = 0; i < a.size(); ++i) {
      ++result->texts;
      if (a[i] == b[i]) continue;
      result->differences.push_back(first_difference(mine, batch[i], a[i], b[i]));
      result->differences.back().prompt = static_cast<int64_t>(begin + i);
    }
  }
}

double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits) {
  KVG_CHECK(p_logits.size() == q_logits.size() && !p_logits.empty(), "logits of one vocabulary");
  const auto log_total = [](std::span<const float> logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    return largest + std::log(sum);
  };
  const double p_total = log_total(p_logits);
  const double q_total = log_total(q_logits);
  double kl = 0;
  for (size_t i = 0; i < p_logits.size(); ++i) {
    const double p = p_logits[i] - p_total;
    kl += std::exp(p) * (p - (q_logits[i] - q_total));
  }
  return std::isfinite(kl) ? std::max(0.0, kl) : std::numeric_limits<double>::infinity();
}

}  // namespace kvg
