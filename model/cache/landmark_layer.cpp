#include "model/cache/landmark_layer.h"

#include "kernels/landmark_codec.h"

#include <algorithm>

namespace kvg {

namespace {

Tensor gates_at(const Ops& ops, float* at, int64_t count) {
  return Tensor(at, DType::f32, ops.device(), {count});
}

}  // namespace

LandmarkLayer::LandmarkLayer(std::shared_ptr<const LandmarkShape> shape, int layer, Ring ring,
                             LandmarkBanks banks)
    : shape_(std::move(shape)), layer_(layer), ring_(std::move(ring)), banks_(std::move(banks)) {}

LandmarkLayer::LandmarkLayer(Ops& ops, std::shared_ptr<const LandmarkShape> shape, int layer)
    : LandmarkLayer(shape, layer, Ring(ops, shape->window, shape->kv_heads, shape->settings.window),
                    LandmarkBanks(ops, shape)) {
  banks_.initialize(ops, layer);
  gates_ = ops.allocate(static_cast<size_t>(settings().window) * sizeof(float));
}

void LandmarkLayer::absorb(Ops& ops, const AbsorbInput& input,
                           std::vector<AttentionBlock>* blocks) {
  const int64_t n = input.k.size(0);
  const int64_t first = input.first_position;
  KVG_CHECK(n > 0, "nothing to absorb");
  const double* eta = input.eta != nullptr ? input.eta : shape_->eta.data();
  eta_.assign(eta, eta + shape_->kv_heads);
  gather_gates(ops, input.gate, first, landmark_evicted(settings(), first + n));
  keep_gates(ops, input.gate, first);
  if (n == 1) {
    absorb_one(ops, input, blocks);
  } else {
    absorb_many(ops, input, blocks);
  }
  mark_ring(ops, first, n);
}

// One token: room is made in the ring first, everything is read in place.
void LandmarkLayer::absorb_one(Ops& ops, const AbsorbInput& input,
                               std::vector<AttentionBlock>* blocks) {
  const int64_t position = input.first_position;
  const LandmarkBlock block = landmark_blocks(settings(), position, position + 1).front();
  evict_to(ops, block.visible, settings().schedule == LandmarkSchedule::calls);
  const AttentionGroup recent = ring_.append(ops, layer_, input.k, input.v, position);
  blocks->push_back(read_block(input, block, banks_.bank(), recent));
}

void LandmarkLayer::absorb_many(Ops& ops, const AbsorbInput& input,
                                std::vector<AttentionBlock>* blocks) {
  const int64_t first = input.first_position;
  const std::vector<LandmarkBlock> plan =
      landmark_blocks(settings(), first, first + input.k.size(0));
  const AttentionGroup recent = ring_.append(ops, layer_, input.k, input.v, first, /*whole=*/true);
  std::vector<LandmarkStep> steps;
  const std::vector<const LandmarkBank*> banks = plan_snapshots(ops, plan, &steps);
  evict(ops, steps, /*beside=*/true);
  for (size_t i = 0; i < plan.size(); ++i) {
    blocks->push_back(read_block(input, plan[i], *banks[i], recent));
  }
}

// What each block reads; blocks between which nothing is evicted share a snapshot, and those after
// the last eviction read the banks themselves.
std::vector<const LandmarkBank*> LandmarkLayer::plan_snapshots(Ops& ops,
                                                               std::span<const LandmarkBlock> plan,
                                                               std::vector<LandmarkStep>* steps) {
  const int64_t last = plan.back().visible;
  const auto needs_snapshot = [&](size_t i) {
    const int64_t visible = plan[i].visible;
    const bool as_before = i > 0 && visible == plan[i - 1].visible;
    return !as_before && visible < last && visible > 0;
  };
  int64_t count = 0;
  for (size_t i = 0; i < plan.size(); ++i) count += needs_snapshot(i) ? 1 : 0;
  snapshots_ = LandmarkSnapshots(ops, *shape_, count, banks_.bank().positions != nullptr);

  std::vector<const LandmarkBank*> banks;
  int64_t done = evicted_;
  int64_t taken = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    LandmarkStep step;
    step.begin = done - evicted_;
    step.end = plan[i].visible - evicted_;
    if (needs_snapshot(i)) {
      step.snapshot = snapshots_.bank(taken++);
      banks.push_back(step.snapshot);
    } else if (i > 0 && plan[i].visible == plan[i - 1].visible) {
      banks.push_back(banks.back());
    } else {
      banks.push_back(&banks_.bank());
    }
    if (step.begin < step.end || step.snapshot != nullptr) steps->push_back(step);
    done = plan[i].visible;
  }
  return banks;
}

void LandmarkLayer::evict_to(Ops& ops, int64_t position, bool single) {
  if (position <= evicted_) return;
  LandmarkStep step;
  step.end = position - evicted_;
  step.single = single;
  evict(ops, {&step, 1}, /*beside=*/false);
}

// Gives what is evicted to the banks; `beside` what comes next, if the operations can. What that
// reads stays until commit().
void LandmarkLayer::evict(Ops& ops, std::span<const LandmarkStep> steps, bool beside) {
  if (steps.empty()) return;
  ops.phase(Phase::bank, layer_);
  const int64_t tokens = steps.back().end;
  LandmarkParams params;
  params.first_position = evicted_;
  params.layer = layer_;
  params.eta = eta_.data();
  params.slow_dims = shape_->slow_dims;
  params.bank = banks_.bank();
  params.rules = settings().rules;
  params.steps = steps;
  params.beside = beside;
  find_leaving(ops, tokens, &params);
  ops.landmark(params);
  if (!beside) leaving_.reset();
  evicted_ += tokens;
  ops.phase(Phase::rope, layer_);
}

// The next `tokens` to leave, as the window's codec has them: where they lie, if the operations can
// read them there, or decoded.
void LandmarkLayer::find_leaving(Ops& ops, int64_t tokens, LandmarkParams* params) {
  const DType type = ops.activation();
  params->k = Tensor(nullptr, type, ops.device(), {tokens, shape_->kv_heads, shape_->head_dim});
  params->v = params->k;
  params->gate = Tensor(nullptr, DType::f32, ops.device(), {tokens});
  if (tokens == 0) return;
  params->gate.data = static_cast<float*>(call_gates_->data()) + (evicted_ - call_gates_first_);
  const SlotStore store = ring_.buffer().store();
  const int64_t slot = ring_.slot_of(evicted_);
  const bool as_they_are = type == DType::bf16 && is_plain_bf16(*store.k_codec) &&
                           is_plain_bf16(*store.v_codec) && slot + tokens <= store.capacity;
  if (as_they_are && ops.landmark_takes_strides(*params)) {
    params->k.data = store.k_codes + slot * store.k_codec->code_bytes();
    params->v.data = store.v_codes + slot * store.v_codec->code_bytes();
    params->token_stride = shape_->head_dim;
    params->head_stride = store.capacity * shape_->head_dim;
    return;
  }
  leaving_ = ops.allocate_scratch(2 * params->k.bytes());
  params->k.data = leaving_->data();
  params->v.data = static_cast<uint8_t*>(params->k.data) + params->k.bytes();
  ops.load({params->k, params->v, layer_, store, slot});
}

// Gates of positions [evicted_, end): from the ring, or among the new ones.
void LandmarkLayer::gather_gates(Ops& ops, const Tensor& gate, int64_t first, int64_t end) {
  if (end <= evicted_) return;
  call_gates_ = ops.allocate_scratch(static_cast<size_t>(end - evicted_) * sizeof(float));
  call_gates_first_ = evicted_;
  auto* out = static_cast<float*>(call_gates_->data());
  auto* ring = static_cast<float*>(gates_->data());
  std::vector<UploadParams> uploads;
  for (int64_t p = evicted_; p < std::min(end, first);) {
    const int64_t slot = p % settings().window;
    const int64_t run = std::min(settings().window - slot, std::min(end, first) - p);
    uploads.push_back({gates_at(ops, ring + slot, run), gates_at(ops, out + (p - evicted_), run)});
    p += run;
  }
  if (end > first) {
    uploads.push_back(
        {gate.rows(0, end - first), gates_at(ops, out + (first - evicted_), end - first)});
  }
  ops.upload_all(uploads);
}

// The last of the new gates into the ring.
void LandmarkLayer::keep_gates(Ops& ops, const Tensor& gate, int64_t first) {
  const int64_t n = gate.size(0);
  auto* ring = static_cast<float*>(gates_->data());
  std::vector<UploadParams> uploads;
  for (int64_t i = std::max<int64_t>(0, n - settings().window); i < n;) {
    const int64_t slot = (first + i) % settings().window;
    const int64_t run = std::min(settings().window - slot, n - i);
    uploads.push_back({gate.rows(i, run), gates_at(ops, ring + slot, run)});
    i += run;
  }
  ops.upload_all(uploads);
}

// The published mask of ring slots in use; nothing here needs it.
void LandmarkLayer::mark_ring(Ops& ops, int64_t first, int64_t n) {
  if (banks_.ring_valid() == nullptr || first >= settings().window) return;
  static const std::vector<uint8_t> ones(4096, 1);  // read after this returns, on a device
  const int64_t end = std::min(first + n, settings().window);
  for (int64_t at = first; at < end; at += std::ssize(ones)) {
    ops.copy(banks_.ring_valid() + at, ones.data(),
             static_cast<size_t>(std::min(end - at, std::ssize(ones))));
  }
}

AttentionBlock LandmarkLayer::read_block(const AbsorbInput& input, const LandmarkBlock& block,
                                         const LandmarkBank& bank,
                                         const AttentionGroup& recent) const {
  AttentionBlock out{input.row_begin + (block.begin - input.first_position),
                     block.end - block.begin,
                     block.begin,
                     {}};
  if (block.visible > 0 && settings().exact > 0) {
    AttentionGroup group;
    group.store = bank.exact;
    group.count = settings().exact;
    group.valid = bank.exact_valid;
    group.positions = bank.positions;
    out.groups.push_back(group);
  }
  if (block.visible > 0 && settings().summary > 0) {
    AttentionGroup group;
    group.store = bank.summary;
    group.count = settings().summary;
    group.valid = bank.summary_valid;
    group.log_weight = bank.log_weight;
    out.groups.push_back(group);
  }
  AttentionGroup group = recent;
  group.first_position = block.visible;
  group.first_slot =
      (recent.first_slot + block.visible - recent.first_position) % recent.store.capacity;
  group.count = block.end - block.visible;
  out.groups.push_back(group);
  return out;
}

void LandmarkLayer::commit(Ops& ops) {
  evict_to(ops, landmark_evicted(settings(), ring_.end_position()), /*single=*/false);
  ring_.settle(ops);
  snapshots_ = {};
  call_gates_.reset();
  leaving_.reset();
}

DecodeCache LandmarkLayer::decode_cache(Ops&, int64_t) {
  DecodeCache cache;
  cache.recent = ring_.store();
  cache.landmark = banks_.bank();
  cache.gates = static_cast<float*>(gates_->data());
  cache.eta = shape_->eta.data();
  return cache;
}

void LandmarkLayer::decoded(Ops& ops, int64_t length) {
  const int64_t first = ring_.end_position();
  ring_.written_to(length);
  evicted_ = landmark_evicted(settings(), length);
  mark_ring(ops, first, length - first);
}

CacheBytes LandmarkLayer::bytes() const {
  CacheBytes bytes = ring_.bytes();
  bytes += shape_->bank_bytes();
  return bytes;
}

std::unique_ptr<LayerCache> LandmarkLayer::clone(Ops& ops) const {
  KVG_CHECK(snapshots_.empty() && call_gates_ == nullptr, "clone() inside a call");
  std::unique_ptr<LandmarkLayer> copy(
      new LandmarkLayer(shape_, layer_, ring_.clone(ops), banks_.clone(ops)));
  const size_t bytes = static_cast<size_t>(settings().window) * sizeof(float);
  copy->gates_ = ops.allocate(bytes);
  ops.copy(copy->gates_->data(), gates_->data(), bytes);
  copy->evicted_ = evicted_;
  return copy;
}

}  // namespace kvg
