#pragma once

#include "kernels/ops.h"
#include "model/method.h"
#include "model/sequence.h"
#include "model/weights.h"

#include <cstdint>
#include <memory>
#include <string>

namespace kvg {

struct SessionOptions {
  // New tokens of a sequence processed in one call. 1 goes token by token, the way of decoding.
  int64_t chunk = 512;
  // Longest sequence. A cache that could not hold it is refused before anything runs.
  int64_t max_tokens = 4096;
};

// One model under one method, on one set of operations. Weights and operations are shared by
// sessions and must outlive them; sequences must not outlive their session. Not thread-safe.
class Session : public Subject {
 public:
  // Throws Error when a cache of max_tokens, or the buffers of a call, exceed the available memory.
  Session(const Weights& weights, Ops& ops, Method method, SessionOptions options);
  ~Session() override;

  std::unique_ptr<Sequence> start() const override;
  std::string method() const override;

  // Greedy or sampled continuations of several prompts at once, as one ragged batch: prompts are
  // prefilled in chunks, then every unfinished sequence advances by one token a step.
  std::vector<std::vector<int32_t>> generate_batch(const std::vector<std::vector<int32_t>>& prompts,
                                                   const GenerateOptions& options) const;

  // Bytes of the caches of one sequence that was provisioned for `tokens` tokens, by formula.
  CacheBytes bytes_at(int64_t tokens) const;

  struct Engine;

 private:
  std::unique_ptr<Engine> engine_;
};

// The geometry of a model's caches.
CacheGeometry cache_geometry(const ModelConfig& config);

}  // namespace kvg
