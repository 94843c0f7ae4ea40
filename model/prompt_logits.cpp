#include "model/prompt_logits.h"

#include "model/session.h"

#include <algorithm>

namespace kvg {

PromptLogits::PromptLogits(const Weights& weights, Ops& ops, const std::string& method,
                           int64_t longest, int64_t chunk)
    : weights_(weights),
      ops_(ops),
      policy_(make_policy(Method::parse(method))),
      longest_(longest),
      forward_(weights, *policy_, ops, std::min(chunk, longest)) {}

std::vector<float> PromptLogits::of(std::span<const int32_t> tokens) {
  KVG_CHECK(std::ssize(tokens) <= longest_, "a longer text than planned");
  SequenceState state;
  const CacheGeometry geometry = cache_geometry(weights_.config);
  for (int layer = 0; layer < geometry.layers; ++layer) {
    state.layers.push_back(policy_->make_layer(ops_, geometry, layer, longest_));
  }
  std::vector<float> result;
  while (!tokens.empty()) {
    const int64_t n = std::min<int64_t>(std::ssize(tokens), forward_.max_rows());
    const SequenceInput input{&state, tokens.first(static_cast<size_t>(n))};
    const Tensor hidden = forward_.run({&input, 1});
    for (int64_t done = 0; done < n;) {
      const int64_t count = std::min(forward_.logits_rows(), n - done);
      append(forward_.logits(hidden, done, count), &result);
      done += count;
    }
    tokens = tokens.subspan(static_cast<size_t>(n));
  }
  return result;
}

void PromptLogits::append(const Tensor& logits, std::vector<float>* result) const {
  const auto n = static_cast<size_t>(logits.elements());
  if (logits.dtype == DType::f64) {
    std::vector<double> values(n);
    ops_.copy(values.data(), logits.data, logits.bytes());
    result->insert(result->end(), values.begin(), values.end());
    return;
  }
  const size_t begin = result->size();
  result->resize(begin + n);
  ops_.copy(result->data() + begin, logits.data, logits.bytes());
}

}  // namespace kvg
