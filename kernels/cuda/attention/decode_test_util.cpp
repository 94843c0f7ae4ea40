#include "kernels/cuda/attention/decode_test_util.h"

#include "kernels/landmark_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace kvg::cuda {

namespace {

DecodePlan make_plan(const DecodeCase& test, uint64_t seed) {
  DecodePlan plan;
  plan.sequences = std::ssize(test.positions);
  plan.layers = DecodeScene::kLayers;
  plan.kv_heads = DecodeScene::kKvHeads;
  plan.heads = plan.kv_heads * test.group;
  plan.head_dim = test.head_dim;
  plan.streams = test.streams;
  plan.seed = seed;
  plan.max_tokens =
      *std::max_element(test.positions.begin(), test.positions.end()) + DecodeScene::kSteps + 1;
  plan.block = test.block;
  const auto window = [&](int64_t fallback) { return test.window > 0 ? test.window : fallback; };
  switch (test.kept) {
    case Kept::full:
      break;
    case Kept::window:
      plan.window = window(130);
      break;
    case Kept::sinks:
      plan.sinks = 5;
      plan.window = window(127);
      plan.bank_limit = plan.sinks + plan.window - 1;
      break;
    case Kept::landmark:
      plan.bank = DecodeBank::landmark;
      plan.window = window(97);
      for (int32_t d = 0; d < plan.head_dim; ++d) {
        if (test.stretches ? d / 32 % 2 == 1 : d % 2 == 0) plan.slow_dims.push_back(d);
      }
      break;
    case Kept::random:
      plan.bank = DecodeBank::random;
      plan.window = window(100);
      break;
  }
  return plan;
}

size_t bytes_of(const std::vector<int64_t>& values) { return values.size() * sizeof(int64_t); }

}  // namespace

std::vector<CodecSpec> decode_test_codecs() {
  std::vector<CodecSpec> specs(5);
  specs[0].kind = CodecKind::bf16;
  specs[1].kind = CodecKind::f32;
  specs[2].kind = CodecKind::fp8;
  specs[3].kind = CodecKind::fp8;
  specs[3].fp8_scale = Fp8Scale::vector;
  specs[4].kind = CodecKind::int8;
  for (const int bits : {1, 2, 3, 4}) {
    CodecSpec spec;
    spec.kind = CodecKind::eden;
    spec.bits = bits;
    spec.seed = static_cast<uint64_t>(bits);
    if (bits == 1) spec.rotation = Rotation::haar;
    if (bits == 2) spec.rotation = Rotation::hd;
    specs.push_back(spec);
  }
  return specs;
}

void Mirror::push() const {
  if (host.empty()) return;
  KVG_CHECK_CUDA(cudaMemcpy(device.data(), host.data(), host.size(), cudaMemcpyHostToDevice));
}

std::vector<uint8_t> Mirror::pull() const {
  std::vector<uint8_t> bytes(host.size());
  if (bytes.empty()) return bytes;
  KVG_CHECK_CUDA(cudaMemcpy(bytes.data(), device.data(), bytes.size(), cudaMemcpyDeviceToHost));
  return bytes;
}

DecodeScene::DecodeScene(CudaContext& context, const DecodeCase& test, uint64_t seed)
    : context_(context),
      test_(test),
      plan_(make_plan(test, seed)),
      seed_(seed),
      ops_(make_reference_ops()),
      eta_(kKvHeads, 0.05),
      at_(test.positions) {
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t s = 0; s < plan_.sequences; ++s) make_cache(layer, s);
  }
  for (const Mirror& mirror : mirrors_) mirror.push();
  host_ = std::make_unique<DecodeState>(plan_, host_caches_);
  device_ = std::make_unique<CudaDecodeState>(context, plan_, device_caches_);
  positions_ = std::make_unique<Mirror>(bytes_of(at_));
  host_positions_ = Tensor(at_.data(), DType::i64, Device::cpu, {plan_.sequences});
  device_positions_ =
      Tensor(positions_->device.data(), DType::i64, Device::cuda, {plan_.sequences});
  set_positions();
  const int64_t frames = plan_.frames();
  q_ = make_input(DType::bf16,
                  {frames * plan_.sequences, plan_.streams, plan_.heads, plan_.head_dim});
  k_ = make_input(DType::bf16, {plan_.sequences, kKvHeads, plan_.head_dim});
  v_ = make_input(DType::bf16, {plan_.sequences, kKvHeads, plan_.head_dim});
  gate_ = make_input(DType::f32, {plan_.sequences});
  lambda_ = make_input(DType::f32, {plan_.sequences, plan_.heads});
  norm_ = make_input(DType::bf16, {plan_.head_dim});
  out_ = std::make_unique<Mirror>(
      static_cast<size_t>(2 * plan_.sequences * plan_.heads * plan_.head_dim));
}

Mirror& DecodeScene::memory(size_t bytes) { return mirrors_.emplace_back(bytes); }

DecodeScene::Sides DecodeScene::make_store(const Codec* k, const Codec* v, int64_t capacity) {
  Sides store;
  const auto slots = static_cast<size_t>(capacity * kKvHeads);
  Mirror& k_codes = memory(slots * static_cast<size_t>(k->code_bytes()));
  Mirror& v_codes = memory(slots * static_cast<size_t>(v->code_bytes()));
  store.host = {k, v, capacity, k_codes.host.data(), v_codes.host.data()};
  store.device = {k, v, capacity, static_cast<uint8_t*>(k_codes.device.data()),
                  static_cast<uint8_t*>(v_codes.device.data())};
  if (k->scale_bytes() > 0) {
    Mirror& scales = memory(2 * slots);
    store.host.k_scales = reinterpret_cast<uint16_t*>(scales.host.data());
    store.device.k_scales = static_cast<uint16_t*>(scales.device.data());
  }
  if (v->scale_bytes() > 0) {
    Mirror& scales = memory(2 * slots);
    store.host.v_scales = reinterpret_cast<uint16_t*>(scales.host.data());
    store.device.v_scales = static_cast<uint16_t*>(scales.device.data());
  }
  return store;
}

void DecodeScene::fill(const Sides& store, int32_t layer, uint64_t seed) {
  const int64_t capacity = store.host.capacity;
  if (capacity == 0) return;
  const auto n = static_cast<size_t>(capacity * kKvHeads * plan_.head_dim);
  std::vector<double> k = random_values(n, DType::bf16, mix_seed({seed, 1}));
  std::vector<double> v = random_values(n, DType::bf16, mix_seed({seed, 2}));
  const auto tensor = [&](std::vector<double>& values) {
    return Tensor(values.data(), DType::f64, Device::cpu, {capacity, kKvHeads, plan_.head_dim});
  };
  ops_->store({tensor(k), tensor(v), layer, store.host, 0});
}

void DecodeScene::make_cache(int32_t layer, int64_t sequence) {
  const int64_t position = at_[static_cast<size_t>(sequence)];
  const auto seed = [&](uint64_t purpose) {
    return mix_seed(
        {seed_, static_cast<uint64_t>(layer), static_cast<uint64_t>(sequence), purpose});
  };
  codecs_.push_back(Codec::make(test_.window_codec, plan_.head_dim));
  const Codec* window = codecs_.back().get();
  codecs_.push_back(Codec::make(test_.bank_codec, plan_.head_dim));
  const Codec* bank = codecs_.back().get();
  DecodeCache host, device;
  const auto add = [&](SlotStore DecodeCache::*store, const Codec* codec, int64_t capacity,
                       uint64_t purpose) {
    const Sides sides = make_store(codec, codec, capacity);
    fill(sides, layer, seed(purpose));
    host.*store = sides.host;
    device.*store = sides.device;
  };
  add(&DecodeCache::recent, window, plan_.window > 0 ? plan_.window : plan_.max_tokens, 1);
  forget_unreadable(host.recent, position);
  if (plan_.sinks > 0) add(&DecodeCache::sinks, bank, plan_.sinks, 2);
  if (plan_.bank == DecodeBank::random) add(&DecodeCache::random, bank, 70, 3);
  if (plan_.bank == DecodeBank::landmark) {
    const Sides exact = make_store(bank, bank, 40);
    fill(exact, layer, seed(4));
    host.landmark.exact = exact.host;
    device.landmark.exact = exact.device;
    make_landmark(layer, &host, &device);
  }
  host_caches_.push_back(host);
  device_caches_.push_back(device);
}

void DecodeScene::make_landmark(int32_t layer, DecodeCache* host, DecodeCache* device) {
  Random random(mix_seed({seed_, 77, static_cast<uint64_t>(layer)}));
  codecs_.push_back(make_band_codec(CodecKind::f32, plan_.head_dim, plan_.slow_dims));
  const Codec* keys = codecs_.back().get();
  CodecSpec exact_values;
  exact_values.kind = CodecKind::f32;
  codecs_.push_back(Codec::make(exact_values, plan_.head_dim));
  const int64_t summaries = 72;
  const Sides summary = make_store(keys, codecs_.back().get(), summaries);
  fill(summary, layer, mix_seed({seed_, 5, static_cast<uint64_t>(layer)}));
  host->landmark.summary = summary.host;
  device->landmark.summary = summary.device;
  const auto mask = [&](int64_t slots, uint8_t* LandmarkBank::*valid) {
    Mirror& bytes = memory(static_cast<size_t>(slots));
    for (uint8_t& byte : bytes.host) byte = random.uniform() < 0.7 ? 1 : 0;
    host->landmark.*valid = bytes.host.data();
    device->landmark.*valid = static_cast<uint8_t*>(bytes.device.data());
  };
  mask(host->landmark.exact.capacity, &LandmarkBank::exact_valid);
  mask(summaries, &LandmarkBank::summary_valid);
  const auto floats = [&](int64_t n) -> Mirror& {
    Mirror& mirror = memory(static_cast<size_t>(4 * n));
    for (int64_t i = 0; i < n; ++i) {
      const auto value = static_cast<float>(std::fabs(random.normal()));
      std::memcpy(mirror.host.data() + 4 * i, &value, 4);
    }
    return mirror;
  };
  Mirror& weights = floats(summaries);
  host->landmark.log_weight = reinterpret_cast<float*>(weights.host.data());
  device->landmark.log_weight = static_cast<float*>(weights.device.data());
  Mirror& gates = floats(plan_.window);
  host->gates = reinterpret_cast<float*>(gates.host.data());
  device->gates = static_cast<float*>(gates.device.data());
  host->eta = device->eta = eta_.data();
}

// All bits set where no token of the window lives: NaN in every codec that has one.
void DecodeScene::forget_unreadable(const SlotStore& store, int64_t position) {
  std::vector<bool> readable(static_cast<size_t>(store.capacity), false);
  for (int64_t p = plan_.evict_begin(position); p < position; ++p) {
    readable[static_cast<size_t>(plan_.recent_slot(p, store.capacity))] = true;
  }
  for (int64_t head = 0; head < kKvHeads; ++head) {
    for (int64_t slot = 0; slot < store.capacity; ++slot) {
      if (readable[static_cast<size_t>(slot)]) continue;
      const int64_t at = head * store.capacity + slot;
      const int64_t k_bytes = store.k_codec->code_bytes();
      const int64_t v_bytes = store.v_codec->code_bytes();
      std::memset(store.k_codes + at * k_bytes, 0xff, static_cast<size_t>(k_bytes));
      std::memset(store.v_codes + at * v_bytes, 0xff, static_cast<size_t>(v_bytes));
      if (store.k_scales != nullptr) store.k_scales[at] = 0xffff;
      if (store.v_scales != nullptr) store.v_scales[at] = 0xffff;
    }
  }
}

DecodeScene::Input DecodeScene::make_input(DType dtype, std::initializer_list<int64_t> shape) {
  Input input;
  input.dtype = dtype;
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  input.values.resize(static_cast<size_t>(n));
  input.device = std::make_unique<Mirror>(static_cast<size_t>(n) * dtype_size(dtype));
  input.host_tensor = Tensor(input.values.data(), DType::f64, Device::cpu, shape);
  input.device_tensor = Tensor(input.device->device.data(), dtype, Device::cuda, shape);
  return input;
}

void DecodeScene::draw_inputs(uint64_t seed) {
  uint64_t purpose = 0;
  for (Input* input : {&q_, &k_, &v_, &gate_, &lambda_, &norm_}) {
    const std::vector<double> values =
        random_values(input->values.size(), input->dtype, mix_seed({seed, ++purpose}));
    std::copy(values.begin(), values.end(), input->values.begin());
    input->device->device.upload(values, input->dtype);
  }
  poison_output();
}

void DecodeScene::set_value(size_t index, double value) {
  v_.values[index] = value;
  v_.device->device.upload(v_.values, v_.dtype);
}

void DecodeScene::poison_output() const {
  KVG_CHECK_CUDA(cudaMemset(out_->device.data(), 0xff, out_->host.size()));
  KVG_CHECK_CUDA(cudaDeviceSynchronize());
}

void DecodeScene::set_positions() {
  std::memcpy(positions_->host.data(), at_.data(), bytes_of(at_));
  positions_->push();
  KVG_CHECK_CUDA(cudaDeviceSynchronize());
}

void DecodeScene::advance() {
  for (int64_t& position : at_) ++position;
  set_positions();
}

DecodeAttentionParams DecodeScene::device_params(int32_t layer) {
  DecodeAttentionParams p;
  p.state = device_.get();
  p.layer = layer;
  p.positions = device_positions_;
  p.q = q_.device_tensor;
  p.k = k_.device_tensor;
  p.v = v_.device_tensor;
  p.gate = gate_.device_tensor;
  if (plan_.streams == 2) p.lambda = lambda_.device_tensor;
  if (test_.head_norm) p.head_norm = norm_.device_tensor;
  p.scale = 1 / std::sqrt(plan_.head_dim);
  p.known_positions = at_;
  p.out = Tensor(out_->device.data(), DType::bf16, Device::cuda,
                 {plan_.sequences, plan_.heads, plan_.head_dim});
  return p;
}

std::vector<double> DecodeScene::expected(int32_t layer) {
  std::vector<double> out(static_cast<size_t>(plan_.sequences * plan_.heads * plan_.head_dim));
  DecodeAttentionParams p = device_params(layer);
  p.state = host_.get();
  p.positions = host_positions_;
  p.q = q_.host_tensor;
  p.k = k_.host_tensor;
  p.v = v_.host_tensor;
  p.gate = gate_.host_tensor;
  if (p.lambda) p.lambda = lambda_.host_tensor;
  if (p.head_norm) p.head_norm = norm_.host_tensor;
  p.out =
      Tensor(out.data(), DType::f64, Device::cpu, {plan_.sequences, plan_.heads, plan_.head_dim});
  composed_decode_attention(*ops_, p);
  return out;
}

void DecodeScene::expect_evict() { composed_decode_evict(*ops_, *host_, host_positions_); }

std::vector<double> DecodeScene::result() const {
  context_.synchronize();
  return out_->device.download(out_->host.size() / 2, DType::bf16);
}

double DecodeScene::store_error(bool random_bank) const {
  double difference = 0, norm = 0;
  std::vector<double> ours(static_cast<size_t>(plan_.head_dim)), theirs(ours.size());
  for (size_t i = 0; i < host_caches_.size(); ++i) {
    const SlotStore& host = random_bank ? host_caches_[i].random : host_caches_[i].recent;
    const SlotStore& device = random_bank ? device_caches_[i].random : device_caches_[i].recent;
    for (const bool value : {false, true}) {
      const Codec& codec = value ? *host.v_codec : *host.k_codec;
      const uint8_t* host_codes = value ? host.v_codes : host.k_codes;
      const uint16_t* host_scales = value ? host.v_scales : host.k_scales;
      const auto slots = static_cast<size_t>(host.capacity * kKvHeads);
      std::vector<uint8_t> codes(slots * static_cast<size_t>(codec.code_bytes()));
      std::vector<uint16_t> scales(slots);
      KVG_CHECK_CUDA(cudaMemcpy(codes.data(), value ? device.v_codes : device.k_codes, codes.size(),
                                cudaMemcpyDeviceToHost));
      if (host_scales != nullptr) {
        KVG_CHECK_CUDA(cudaMemcpy(scales.data(), value ? device.v_scales : device.k_scales,
                                  2 * slots, cudaMemcpyDeviceToHost));
      }
      for (size_t slot = 0; slot < slots; ++slot) {
        const auto offset = slot * static_cast<size_t>(codec.code_bytes());
        codec.decode(host_codes + offset, host_scales ? host_scales + slot : nullptr, 1,
                     theirs.data());
        if (!std::isfinite(std::accumulate(theirs.begin(), theirs.end(), 0.0))) continue;
        codec.decode(codes.data() + offset, scales.data() + slot, 1, ours.data());
        for (size_t d = 0; d < ours.size(); ++d) {
          difference += (ours[d] - theirs[d]) * (ours[d] - theirs[d]);
          norm += theirs[d] * theirs[d];
        }
      }
    }
  }
  return norm > 0 ? std::sqrt(difference / norm) : 0;
}

std::vector<uint8_t> DecodeScene::cache_bytes() const {
  std::vector<uint8_t> all;
  for (const Mirror& mirror : mirrors_) {
    const std::vector<uint8_t> bytes = mirror.pull();
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

}  // namespace kvg::cuda
