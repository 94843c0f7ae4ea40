#include "model/cache/landmark_banks.h"

#include "base/random.h"
#include "kernels/landmark_codec.h"

#include <algorithm>

namespace kvg {

namespace {

SlotStore place_store(Placer& placer, const Codec& k, const Codec& v, int kv_heads,
                      int64_t capacity) {
  SlotStore store;
  store.k_codec = &k;
  store.v_codec = &v;
  store.capacity = capacity;
  const int64_t slots = kv_heads * capacity;
  store.k_codes = placer.take<uint8_t>(slots * k.code_bytes());
  store.v_codes = placer.take<uint8_t>(slots * v.code_bytes());
  store.k_scales = placer.take<uint16_t>(slots * k.scale_bytes() / 2);
  store.v_scales = placer.take<uint16_t>(slots * v.scale_bytes() / 2);
  return store;
}

// The part of a bank that attention reads: all that a snapshot has; `k` and `v` of the averages.
LandmarkBank place_readable(Placer& placer, const LandmarkShape& shape, const Codec& k,
                            const Codec& v) {
  const LandmarkSettings& settings = shape.settings;
  LandmarkBank bank;
  bank.exact = place_store(placer, *shape.exact, *shape.exact, shape.kv_heads, settings.exact);
  bank.summary = place_store(placer, k, v, shape.kv_heads, settings.summary);
  bank.exact_valid = placer.take<uint8_t>(settings.exact);
  bank.summary_valid = placer.take<uint8_t>(settings.summary);
  if (settings.count_bias) bank.log_weight = placer.take<float>(settings.summary);
  return bank;
}

int64_t unit_bytes(const LandmarkSettings& settings) {
  return settings.rules.bf16_arithmetic ? 2 : 4;
}

}  // namespace

std::shared_ptr<const LandmarkShape> LandmarkShape::make(const LandmarkSettings& settings,
                                                         const Method& method,
                                                         const CacheGeometry& geometry) {
  auto shape = std::make_shared<LandmarkShape>();
  shape->settings = settings;
  shape->kv_heads = geometry.kv_heads;
  shape->head_dim = geometry.head_dim;
  shape->slow_dims = slow_dimensions(geometry.head_dim, geometry.half_split_rope, settings.band);
  shape->window = Codec::make(method.window_codec, geometry.head_dim);
  shape->exact = Codec::make(method.bank_codec, geometry.head_dim);
  CodecSpec plain;
  plain.kind = settings.rules.bf16_arithmetic ? CodecKind::bf16 : CodecKind::f32;
  shape->summary_v = Codec::make(plain, geometry.head_dim);
  const bool every_dim = std::ssize(shape->slow_dims) == geometry.head_dim;
  if (settings.published_state || every_dim) {
    shape->summary_k = shape->summary_v;
  } else {
    shape->summary_k = make_band_codec(plain.kind, geometry.head_dim, shape->slow_dims);
  }
  const bool as_read = is_plain_bf16(*shape->summary_k) && is_plain_bf16(*shape->summary_v);
  shape->summary_bf16 =
      as_read ? shape->summary_v
              : SharedCodec(Codec::make({.kind = CodecKind::bf16}, geometry.head_dim));
  shape->eta.assign(static_cast<size_t>(geometry.kv_heads), settings.eta);
  return shape;
}

CacheBytes LandmarkShape::bank_bytes() const {
  CacheBytes bytes;
  const int64_t exact_slots = kv_heads * settings.exact;
  const int64_t summary_slots = kv_heads * settings.summary;
  bytes.keys = exact_slots * exact->code_bytes() + summary_slots * summary_k->code_bytes();
  bytes.values = exact_slots * exact->code_bytes() + summary_slots * summary_v->code_bytes();
  bytes.scales = 2 * exact_slots * exact->scale_bytes();
  const int64_t gates = 4 * settings.window;
  const int64_t validity = settings.exact + settings.summary;
  const int64_t stamps = 8 * settings.exact;
  bytes.metadata = gates + validity + stamps;
  if (settings.count_bias) bytes.metadata += 8 * settings.summary;
  if (settings.published_state) {
    const auto band = static_cast<int64_t>(slow_dims.size());
    bytes.metadata += settings.window;
    bytes.metadata += unit_bytes(settings) * (exact_slots * head_dim + summary_slots * band);
  }
  return bytes;
}

LandmarkBanks::LandmarkBanks(Ops& ops, std::shared_ptr<const LandmarkShape> shape)
    : shape_(std::move(shape)) {
  Placer measure(nullptr);
  place(measure);
  memory_ = ops.allocate(measure.used());
  Placer placer(memory_->data());
  place(placer);
}

void LandmarkBanks::place(Placer& placer) {
  const LandmarkSettings& settings = shape_->settings;
  const int kv_heads = shape_->kv_heads;
  bank_ = place_readable(placer, *shape_, *shape_->summary_k, *shape_->summary_v);
  if (settings.count_bias) bank_.counts = placer.take<float>(settings.summary);
  bank_.stamps = placer.take<int64_t>(settings.exact);
  if (!settings.published_state) return;
  const auto band = static_cast<int64_t>(shape_->slow_dims.size());
  const int64_t unit = unit_bytes(settings);
  bank_.exact_unit = placer.take<uint8_t>(kv_heads * settings.exact * shape_->head_dim * unit);
  bank_.summary_unit = placer.take<uint8_t>(kv_heads * settings.summary * band * unit);
  ring_valid_ = placer.take<uint8_t>(settings.window);
}

void LandmarkBanks::keep_positions() {
  positions_.assign(static_cast<size_t>(shape_->settings.exact), -1);
  bank_.positions = positions_.data();
}

LandmarkSnapshots::LandmarkSnapshots(Ops& ops, const LandmarkShape& shape, int64_t count,
                                     bool positions) {
  if (count == 0) return;
  const bool bf16 = ops.activation() == DType::bf16;
  const Codec& k = bf16 ? *shape.summary_bf16 : *shape.summary_k;
  const Codec& v = bf16 ? *shape.summary_bf16 : *shape.summary_v;
  Placer measure(nullptr);
  (void)place_readable(measure, shape, k, v);
  memory_ = ops.allocate_scratch(measure.used() * static_cast<size_t>(count));
  Placer placer(memory_->data());
  for (int64_t i = 0; i < count; ++i) {
    banks_.push_back(place_readable(placer, shape, k, v));
    if (!positions) continue;
    positions_.emplace_back(static_cast<size_t>(shape.settings.exact));
    banks_.back().positions = positions_.back().data();
  }
}

void LandmarkBanks::initialize(Ops& ops, int layer) {
  if (!shape_->settings.random_banks) return;  // allocated as zeros
  fill_with_noise(ops, layer);
  refresh_units(ops, layer);
}

void LandmarkBanks::refresh_units(Ops& ops, int layer) {
  if (!shape_->settings.published_state) return;
  LandmarkParams params;
  params.k =
      Tensor(nullptr, ops.activation(), ops.device(), {0, shape_->kv_heads, shape_->head_dim});
  params.v = params.k;
  params.gate = Tensor(nullptr, DType::f32, ops.device(), {0});
  params.layer = layer;
  params.eta = shape_->eta.data();
  params.slow_dims = shape_->slow_dims;
  params.bank = bank_;
  params.rules = shape_->settings.rules;
  params.refresh_units = true;
  ops.landmark(params);
}

LandmarkBanks LandmarkBanks::clone(Ops& ops) const {
  LandmarkBanks copy(ops, shape_);
  ops.copy(copy.memory_->data(), memory_->data(), memory_->bytes());
  if (bank_.positions != nullptr) {
    copy.positions_ = positions_;
    copy.bank_.positions = copy.positions_.data();
  }
  return copy;
}

void LandmarkBanks::fill_with_noise(Ops& ops, int layer) {
  const LandmarkSettings& settings = shape_->settings;
  Random random(
      mix_seed({settings.seed, name_seed("landmark banks"), static_cast<uint64_t>(layer)}));
  const auto fill = [&](const SlotStore& store, bool slow_keys_only) {
    if (store.capacity == 0) return;
    const int64_t row = int64_t{shape_->kv_heads} * shape_->head_dim;
    std::vector<double> k(static_cast<size_t>(store.capacity * row)), v(k.size());
    const std::vector<int32_t>& slow = shape_->slow_dims;
    for (size_t i = 0; i < k.size(); ++i) {
      const auto dim = static_cast<int32_t>(static_cast<int64_t>(i) % shape_->head_dim);
      const bool keep = !slow_keys_only || std::binary_search(slow.begin(), slow.end(), dim);
      k[i] = 0.02 * random.normal() * (keep ? 1 : 0);
      v[i] = 0.02 * random.normal();
    }
    const auto memory = ops.allocate(2 * k.size() * dtype_size(ops.activation()));
    Tensor out_k(memory->data(), ops.activation(), ops.device(),
                 {store.capacity, shape_->kv_heads, shape_->head_dim});
    Tensor out_v = out_k;
    out_v.data = static_cast<uint8_t*>(memory->data()) + out_k.bytes();
    const auto host = [&](std::vector<double>& x) {
      return Tensor(x.data(), DType::f64, Device::cpu,
                    {store.capacity, shape_->kv_heads, shape_->head_dim});
    };
    ops.upload(host(k), out_k);
    ops.upload(host(v), out_v);
    ops.store({out_k, out_v, layer, store, 0});
  };
  fill(bank_.exact, false);
  fill(bank_.summary, true);
}

}  // namespace kvg
