#include "model/sampling.h"

#include "base/error.h"
#include "kernels/sample.h"

namespace kvg {

int32_t sample_token(std::span<const float> logits, const Sampling& sampling, int64_t position) {
  const int32_t token =
      choose_token(logits, sampling.temperature, sampling.top_p, sampling.seed, position);
  if (token < 0) {
    throw Error("sampling", "logits", "no finite value",
                "finite logits (are the weights damaged?)");
  }
  return token;
}

}  // namespace kvg
