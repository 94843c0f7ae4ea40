#include "model/forward.h"

#include "model/placer.h"

#include <algorithm>

namespace kvg {

namespace {

// Logits of many rows at once would dwarf every other buffer at large vocabularies.
constexpr int64_t kLogitsRows = 128;

// Fewer rows would not fill a GPU twice.
constexpr int64_t kLeastRowsOfTwo = 1024;

}  // namespace

CacheBytes SequenceState::bytes() const {
  CacheBytes bytes;
  for (const auto& layer : layers) bytes += layer->bytes();
  return bytes;
}

int query_frames(const Policy& policy) { return policy.bank_position(0) >= 0 ? 2 : 1; }

Forward::Forward(const Weights& weights, const Policy& policy, Ops& ops, int64_t max_rows)
    : policy_(policy),
      ops_(ops),
      max_rows_(max_rows),
      logits_rows_(std::min(max_rows, kLogitsRows)),
      pass_(weights, ops, query_frames(policy), max_rows, logits_rows_) {
  const auto place_scores = [&](void* base) {
    Placer placer(base);
    targets_ = placer.tensor(ops, DType::i32, {max_rows});
    nll_ = placer.tensor(ops, DType::f64, {max_rows});
    return placer.used();
  };
  scores_ = ops.allocate(place_scores(nullptr));
  (void)place_scores(scores_->data());
}

void Forward::place(std::span<const SequenceInput> inputs, int64_t rows) {
  host_tokens_.clear();
  host_positions_.clear();
  host_bank_positions_.clear();
  for (const SequenceInput& input : inputs) {
    for (size_t i = 0; i < input.tokens.size(); ++i) {
      const int64_t position = input.state->length + static_cast<int64_t>(i);
      KVG_CHECK(input.tokens[i] >= 0 && input.tokens[i] < pass_.weights().config.vocab,
                "token outside the vocabulary");
      host_tokens_.push_back(input.tokens[i]);
      host_positions_.push_back(position);
      host_bank_positions_.push_back(policy_.bank_position(position));
    }
  }
  const auto fill = [this](const Tensor& to, const void* from) {
    if (to) ops_.copy(to.data, from, to.bytes());
  };
  fill(pass_.tokens(rows), host_tokens_.data());
  fill(pass_.positions(rows), host_positions_.data());
  fill(pass_.bank_positions(rows), host_bank_positions_.data());
}

Tensor Forward::run(std::span<const SequenceInput> inputs) {
  int64_t rows = 0;
  for (const SequenceInput& input : inputs) rows += std::ssize(input.tokens);
  KVG_CHECK(rows > 0 && rows <= max_rows_, "rows outside the planned buffers");
  ops_.phase(Phase::embed, -1);
  place(inputs, rows);
  std::vector<Group> groups = group(inputs, rows);
  Tensor hidden;
  if (groups.size() == 2) {
    pass_.embed(rows);
    run_in_turns(&groups[0], &groups[1]);
    hidden = pass_.finish(rows);
  } else {
    hidden = pass_.run(rows, [&](int layer, const HeadTensors& heads) {
      groups[0].heads = heads;
      absorb(layer, &groups[0]);
      attend(layer, &groups[0]);
    });
  }
  for (const SequenceInput& input : inputs) input.state->length += std::ssize(input.tokens);
  return hidden;
}

std::vector<Forward::Group> Forward::group(std::span<const SequenceInput> inputs,
                                           int64_t rows) const {
  const auto watched = [](const SequenceInput& input) { return input.watch != nullptr; };
  const bool two = policy_.scans() && ops_.runs_beside() && rows >= kLeastRowsOfTwo &&
                   pass_.frames() == 1 && std::ranges::none_of(inputs, watched);
  // A multiple of what attention's tiles and the usual eviction blocks are.
  constexpr int64_t kStep = 256;
  const int64_t cut = two ? rows / 2 / kStep * kStep : rows;
  std::vector<Group> groups(two ? 2 : 1);
  groups[0].stretch = {0, cut};
  if (two) groups[1].stretch = {cut, rows - cut};
  int64_t row = 0;
  for (const SequenceInput& input : inputs) {
    int64_t done = 0;
    const int64_t n = std::ssize(input.tokens);
    for (Group& group : groups) {
      const int64_t end = std::min(row + n, group.stretch.begin + group.stretch.rows);
      const int64_t count = end - (row + done);
      if (count <= 0) continue;
      Part part;
      part.input = input;
      part.input.tokens =
          input.tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(count));
      part.position = input.state->length + done;
      part.row_begin = row + done - group.stretch.begin;
      group.parts.push_back(part);
      done += count;
    }
    row += n;
  }
  return groups;
}

// The bank update of a layer is sequential and leaves most of a GPU idle. It runs beside the
// feed-forward of the other group, `second` being half a layer behind: of all products these lose
// least to the multiprocessors that it takes, having the most tiles. A sequence in both groups is
// taken in by `first` first, in every layer.
void Forward::run_in_turns(Group* first, Group* second) {
  const int layers = static_cast<int>(pass_.weights().config.layers);
  const auto begin = [&](int layer, Group* group) {
    group->heads = pass_.begin_layer(layer, group->stretch);
  };
  const auto attend_and_mix = [&](int layer, Group* group) {
    attend(layer, group);
    pass_.mix_heads(layer, group->stretch);
  };
  begin(0, first);
  absorb(0, first);
  begin(0, second);  // there is nothing else yet to do beside it
  for (int l = 0; l < layers; ++l) {
    attend_and_mix(l, first);
    if (l > 0) begin(l, second);
    absorb(l, second);
    pass_.feed_forward(l, first->stretch);
    attend_and_mix(l, second);
    if (l + 1 < layers) {
      begin(l + 1, first);
      absorb(l + 1, first);
    }
    pass_.feed_forward(l, second->stretch);
  }
}

void Forward::absorb(int index, Group* group) {
  const LayerWeights& layer = pass_.weights().layers[static_cast<size_t>(index)];
  group->blocks.clear();
  const HeadTensors& heads = group->heads;
  for (const Part& part : group->parts) {
    const int64_t n = std::ssize(part.input.tokens);
    AbsorbInput absorb{heads.k.rows(part.row_begin, n),
                       heads.v.rows(part.row_begin, n),
                       heads.gate.rows(part.row_begin, n),
                       part.position,
                       part.row_begin,
                       nullptr};
    if (layer.summary_eta) absorb.eta = layer.summary_eta.as<double>();
    part.input.state->layers[static_cast<size_t>(index)]->absorb(ops_, absorb, &group->blocks);
  }
}

void Forward::attend(int index, Group* group) {
  const ModelConfig& config = pass_.weights().config;
  const HeadTensors& heads = group->heads;
  ops_.phase(Phase::attention, index);
  AttentionParams params;
  params.q = heads.q;
  params.frames = pass_.frames();
  params.streams = config.streams();
  params.heads = config.heads;
  params.kv_heads = config.kv_heads;
  params.head_dim = config.head_dim;
  params.layer = index;
  params.scale = pass_.attention_scale();
  params.lambda = heads.lambda;
  params.head_norm = pass_.weights().layers[static_cast<size_t>(index)].head_norm;
  params.blocks = group->blocks;
  params.out = heads.out;
  ops_.attention(params);
  watch(params, *group);

  ops_.phase(Phase::rope, index);  // what commit() moves is K and V on their way into the cache
  for (const Part& part : group->parts) {
    part.input.state->layers[static_cast<size_t>(index)]->commit(ops_);
  }
}

void Forward::watch(AttentionParams params, const Group& group) const {
  for (const Part& part : group.parts) {
    if (part.input.watch == nullptr) continue;
    const int64_t end = part.row_begin + std::ssize(part.input.tokens);
    const auto own = [](const AttentionBlock& block) { return block.row_begin; };
    const auto first = std::ranges::lower_bound(group.blocks, part.row_begin, {}, own);
    const auto last = std::ranges::lower_bound(first, group.blocks.end(), end, {}, own);
    params.blocks = {first, last};
    watch_attention(params, part.input.watch);
  }
}

Tensor Forward::logits(const Tensor& hidden, int64_t begin, int64_t count) {
  KVG_CHECK(count <= logits_rows_, "more rows of logits than planned");
  return pass_.logits(hidden.rows(begin, count));
}

std::vector<double> Forward::nll(const Tensor& hidden, int64_t begin,
                                 std::span<const int32_t> targets) {
  std::vector<double> result(targets.size());
  const int64_t total = std::ssize(targets);
  KVG_CHECK(total <= max_rows_, "more targets than rows");
  ops_.copy(targets_.data, targets.data(), targets.size_bytes());
  for (int64_t done = 0; done < total;) {
    const int64_t count = std::min(logits_rows_, total - done);
    const Tensor rows = logits(hidden, begin + done, count);
    ops_.nll({rows, targets_.rows(done, count), nll_.rows(done, count)});
    done += count;
  }
  ops_.copy(result.data(), nll_.data, result.size() * sizeof(double));
  return result;
}

}  // namespace kvg
