#include "model/sampling.h"

#include "base/error.h"
#include "kernels/sample.h"

#include <algorithm>

namespace kvg {

int32_t sample_token(std::span<const float> logits, const Sampling& sampling, int64_t position) {
  const int32_t token =
      choose_token(logits, sampling.temperature, sampling.top_p, sampling.seed, position);
  require_tokens({&token, 1});
  return token;
}

void require_tokens(std::span<const int32_t> tokens) {
  if (std::any_of(tokens.begin(), tokens.end(), [](int32_t token) { return token < 0; })) {
    throw Error("sampling", "logits", "no finite value",
                "finite logits (are the weights damaged?)");
  }
}

}  // namespace kvg
