#pragma once

#include "kernels/ops.h"
#include "model/attention_watch.h"
#include "model/cache/policy.h"
#include "model/pass.h"
#include "model/weights.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace kvg {

// The caches of all layers of one sequence, and how far it has come.
struct SequenceState {
  std::vector<std::unique_ptr<LayerCache>> layers;
  int64_t length = 0;

  CacheBytes bytes() const;
};

// New tokens of one sequence in a batch.
struct SequenceInput {
  SequenceState* state = nullptr;
  std::span<const int32_t> tokens;
  AttentionWatch* watch = nullptr;  // sees the attention of these tokens; null: nobody does
};

// The forward pass over any number of new tokens a sequence: prefill, and scoring. All buffers are
// planned at construction for at most `max_rows` new tokens a call; a call takes any batch of
// sequences of different lengths, packed. Waits for the device nowhere but in nll().
class Forward {
 public:
  // `policy` only decides the frames of the queries; the caches come with the sequences. Throws
  // Error when the buffers do not fit in memory.
  Forward(const Weights& weights, const Policy& policy, Ops& ops, int64_t max_rows);

  int64_t max_rows() const { return max_rows_; }

  // Runs all layers: caches take the tokens in, states advance. Returns the final hidden state of
  // every new token, normalised: [rows, hidden], valid until the next call.
  Tensor run(std::span<const SequenceInput> inputs);

  // Logits of rows [begin, begin + count) of run()'s result: [count, vocab] wide, valid until the
  // next call of logits(). count is at most logits_rows().
  Tensor logits(const Tensor& hidden, int64_t begin, int64_t count);
  int64_t logits_rows() const { return logits_rows_; }

  // NLL of targets[i] given row begin + i, in nats; any number of rows.
  std::vector<double> nll(const Tensor& hidden, int64_t begin, std::span<const int32_t> targets);

 private:
  // New tokens of one sequence within a stretch of rows.
  struct Part {
    SequenceInput input;    // only these tokens
    int64_t position = 0;   // of the first
    int64_t row_begin = 0;  // among the stretch's rows
  };
  // Rows that go through the layers together.
  struct Group {
    Pass::Stretch stretch;
    std::vector<Part> parts;
    HeadTensors heads;  // of the layer it is in
    std::vector<AttentionBlock> blocks;
  };

  void place(std::span<const SequenceInput> inputs, int64_t rows);
  // One group, or two where one's bank update may run beside the other's products.
  std::vector<Group> group(std::span<const SequenceInput> inputs, int64_t rows) const;
  void absorb(int layer, Group* group);
  void attend(int layer, Group* group);
  void run_in_turns(Group* first, Group* second);
  void watch(AttentionParams params, const Group& group) const;

  const Policy& policy_;
  Ops& ops_;
  int64_t max_rows_;
  int64_t logits_rows_;
  Pass pass_;
  std::unique_ptr<Buffer> scores_;  // targets and their NLL
  Tensor targets_, nll_;            // [max_rows] i32, f64
  std::vector<int32_t> host_tokens_;
  std::vector<int64_t> host_positions_;
  std::vector<int64_t> host_bank_positions_;
};

// Frames of the queries that a policy needs (PrepareHeadsParams::bank_positions).
int query_frames(const Policy& policy);

}  // namespace kvg
