#pragma once

#include "model/attention_watch.h"
#include "model/cache/policy.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace kvg {

// How the next token is chosen. temperature 0 is greedy; top_p keeps the smallest set of tokens
// whose probabilities add up to at least top_p.
struct Sampling {
  double temperature = 0;
  double top_p = 1;
  uint64_t seed = 0;
};

struct GenerateOptions {
  int64_t max_tokens = 32;
  Sampling sampling;
  bool stop_at_eos = true;
  bool recorded = true;  // decode steps are recorded once and replayed (model/decode_batch.h)
  // Asked after each token with all tokens generated so far; true ends the generation.
  std::function<bool(std::span<const int32_t>)> stop;
};

// One sequence of a model under one method: what an evaluation task works with. Abstract so that
// tasks can be tested against a fake.
class Sequence {
 public:
  virtual ~Sequence() = default;

  // The cache takes in `tokens` (any number), in chunks of the session's size.
  virtual void append(std::span<const int32_t> tokens) = 0;
  // The same, and the NLL in nats of each token given everything before it; [tokens.size()].
  // Needs length() > 0: something (BOS) must predict the first one.
  virtual std::vector<double> score(std::span<const int32_t> tokens) = 0;
  // The same one decode step a token, each told which token comes next: what a generation that says
  // exactly this goes through. A method whose prefill and decode differ shows it here.
  virtual std::vector<double> score_decoding(std::span<const int32_t> tokens) = 0;
  // Continues from the current state. An end-of-sequence token ends the answer and is not part of
  // it. Afterwards the state holds the returned tokens, save possibly the last.
  virtual std::vector<int32_t> generate(const GenerateOptions& options) = 0;
  // Instruments, on host sets. keep_positions(), before the first token, lets watch() tell what is
  // in the slots of banks; both change no result. While a watch is set, append() and score() show
  // it their attention; null ends it. A clone keeps positions too and is not watched.
  virtual void keep_positions() = 0;
  virtual void watch(AttentionWatch* watch) = 0;
  // Log-probabilities are not kept; the logits after the last token are: [vocab].
  virtual std::vector<float> logits() const = 0;

  // An independent copy of the state: several questions over one cache.
  virtual std::unique_ptr<Sequence> clone() const = 0;
  virtual int64_t length() const = 0;
  virtual CacheBytes bytes() const = 0;
};

// A model under one method, which starts sequences.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual std::unique_ptr<Sequence> start() const = 0;
  virtual std::string method() const = 0;  // canonical
};

}  // namespace kvg
