#include "kernels/cuda/landmark/landmark_test_util.h"

#include "base/random.h"
#include "kernels/cuda/landmark/scan.h"
#include "kernels/landmark_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace kvg::cuda {

namespace {

int band_of(const LandmarkCase& test) {
  return test.band_dims > 0 ? test.band_dims : test.head_dim / 2;
}

double to_bf16(double x) { return bf16_to_float(float_to_bf16(static_cast<float>(x))); }

// |a - b| / |b|, 0 for two zeros.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / std::max(norm, 1e-30));
}

double slot_distance(const SlotStore& a, const SlotStore& b, int kv_heads) {
  if (a.capacity == 0) return 0;
  return std::max(distance(decoded(a, kv_heads, false), decoded(b, kv_heads, false)),
                  distance(decoded(a, kv_heads, true), decoded(b, kv_heads, true)));
}

std::vector<double> unit_values(const void* data, int64_t count, bool bf16) {
  std::vector<double> out;
  for (int64_t i = 0; i < count && data != nullptr; ++i) {
    out.push_back(bf16 ? bf16_to_float(static_cast<const uint16_t*>(data)[i])
                       : static_cast<const float*>(data)[i]);
  }
  return out;
}

template <typename T>
int differing(const T* a, const T* b, int64_t count) {
  int different = 0;
  for (int64_t i = 0; i < count; ++i) different += a[i] != b[i] ? 1 : 0;
  return different;
}

LandmarkParams make_params(const LandmarkCase& test, const LandmarkCodecs& codecs, int64_t begin,
                           const std::vector<LandmarkStep>& steps, const LandmarkBank& bank) {
  LandmarkParams params;
  params.first_position = begin;
  params.layer = test.layer;
  params.eta = codecs.eta.data();
  params.slow_dims = codecs.slow_dims;
  params.bank = bank;
  params.rules = test.rules;
  params.steps = steps;
  return params;
}

int64_t token_count(const std::vector<LandmarkStep>& steps) {
  return steps.empty() ? 0 : steps.back().end;
}
size_t vector_elements(const LandmarkCase& test, const std::vector<LandmarkStep>& steps) {
  return static_cast<size_t>(token_count(steps) * test.kv_heads * test.head_dim);
}

}  // namespace

LandmarkRules fixed_rules() {
  LandmarkRules rules;
  rules.exact_candidates = 2;
  rules.sinks = 4;
  return rules;
}

LandmarkRules published_rules() {
  LandmarkRules rules;
  rules.exact_candidates = 8;
  rules.summary_candidates = 64;
  rules.order = LandmarkOrder::index;
  rules.tie = LandmarkTie::position;
  rules.routing = LandmarkRouting::torch;
  rules.insert = LandmarkInsert::compete;
  rules.gated_rate = false;
  rules.energy_scale = true;
  rules.delta_copy = true;
  rules.bf16_arithmetic = true;
  return rules;
}

LandmarkCase published_case() {
  LandmarkCase test;
  test.name = "published";
  test.rules = published_rules();
  test.summary_kind = CodecKind::bf16;
  test.band = false;
  test.resident = true;
  test.counts = false;
  test.noise = true;
  return test;
}

LandmarkCodecs::LandmarkCodecs(const LandmarkCase& test) {
  exact = Codec::make(test.exact_codec, test.head_dim);
  // The slower half of half-split pairs, or the first of them.
  const int band = band_of(test);
  for (int32_t d = 0; d < test.head_dim && std::ssize(slow_dims) < band; ++d) {
    const bool slow = d % (test.head_dim / 2) >= test.head_dim / 4;
    if (slow || band == test.head_dim) slow_dims.push_back(d);
  }
  CodecSpec plain;
  plain.kind = test.summary_kind;
  summary_v = Codec::make(plain, test.head_dim);
  summary_k = test.band ? make_band_codec(test.summary_kind, test.head_dim, slow_dims)
                        : Codec::make(plain, test.head_dim);
  summary_bf16 = Codec::make({.kind = CodecKind::bf16}, test.head_dim);
  for (int h = 0; h < test.kv_heads; ++h) eta.push_back(0.05 + 0.07 * h);
}

BankMemory::BankMemory(const LandmarkCase& test, const LandmarkCodecs& codecs, bool on_device,
                       bool snapshot) {
  place(test, codecs, snapshot);
  if (on_device) {
    device_ = std::make_unique<TestBuffer>(used_);
    base_ = static_cast<uint8_t*>(device_->data());
  } else {
    host_.resize(used_);
    base_ = host_.data();
  }
  used_ = 0;
  place(test, codecs, snapshot);
}

uint8_t* BankMemory::take(int64_t bytes) {
  if (bytes == 0) return nullptr;
  uint8_t* at = base_ == nullptr ? nullptr : base_ + used_;
  used_ += static_cast<size_t>((bytes + 63) / 64 * 64);
  return at;
}

SlotStore BankMemory::store(const Codec& k, const Codec& v, int heads, int64_t capacity) {
  const int64_t slots = heads * capacity;
  SlotStore store{&k, &v, capacity, nullptr, nullptr, nullptr, nullptr};
  store.k_codes = take(slots * k.code_bytes());
  store.v_codes = take(slots * v.code_bytes());
  store.k_scales = reinterpret_cast<uint16_t*>(take(slots * k.scale_bytes()));
  store.v_scales = reinterpret_cast<uint16_t*>(take(slots * v.scale_bytes()));
  return store;
}

void BankMemory::place(const LandmarkCase& test, const LandmarkCodecs& codecs, bool snapshot) {
  bank_ = {};
  bank_.exact = store(*codecs.exact, *codecs.exact, test.kv_heads, test.exact);
  const bool rounded = snapshot && test.summary_kind == CodecKind::f32;
  bank_.summary =
      store(rounded ? *codecs.summary_bf16 : *codecs.summary_k,
            rounded ? *codecs.summary_bf16 : *codecs.summary_v, test.kv_heads, test.summary);
  bank_.exact_valid = take(test.exact);
  bank_.summary_valid = take(test.summary);
  if (test.counts) bank_.log_weight = reinterpret_cast<float*>(take(4 * test.summary));
  if (snapshot) return;
  if (test.counts) bank_.counts = reinterpret_cast<float*>(take(4 * test.summary));
  bank_.stamps = reinterpret_cast<int64_t*>(take(8 * test.exact));
  if (!test.resident) return;
  const int64_t width = test.rules.bf16_arithmetic ? 2 : 4;
  bank_.exact_unit = take(width * test.kv_heads * test.exact * test.head_dim);
  bank_.summary_unit = take(width * test.kv_heads * test.summary * band_of(test));
}

std::vector<uint8_t> BankMemory::bytes() const {
  if (device_ == nullptr) return host_;
  std::vector<uint8_t> out(used_);
  KVG_CHECK_CUDA(cudaMemcpy(out.data(), base_, used_, cudaMemcpyDeviceToHost));
  return out;
}

void BankMemory::set_bytes(const std::vector<uint8_t>& bytes) {
  if (device_ == nullptr) {
    std::copy(bytes.begin(), bytes.end(), host_.begin());
  } else {
    KVG_CHECK_CUDA(cudaMemcpy(base_, bytes.data(), used_, cudaMemcpyHostToDevice));
  }
}

std::vector<uint8_t> initial_bytes(const LandmarkCase& test, const LandmarkCodecs& codecs) {
  BankMemory memory(test, codecs, /*on_device=*/false);
  if (!test.noise) return memory.bytes();
  Random random(99);
  const LandmarkBank& bank = memory.bank();
  const auto fill = [&](const Codec& codec, uint8_t* codes, uint16_t* scales, int64_t slots) {
    std::vector<float> x(static_cast<size_t>(slots * test.head_dim));
    for (float& value : x) value = static_cast<float>(0.02 * random.normal());
    codec.encode({}, x.data(), slots, codes, scales);
  };
  for (const SlotStore* store : {&bank.exact, &bank.summary}) {
    if (store->capacity == 0) continue;
    fill(*store->k_codec, store->k_codes, store->k_scales, test.kv_heads * store->capacity);
    fill(*store->v_codec, store->v_codes, store->v_scales, test.kv_heads * store->capacity);
  }
  if (test.resident) {
    LandmarkParams params = make_params(test, codecs, 0, {}, bank);
    std::vector<double> none(1);
    params.k = Tensor(none.data(), DType::f64, Device::cpu, {0, test.kv_heads, test.head_dim});
    params.v = params.k;
    params.gate = Tensor(nullptr, DType::f32, Device::cpu, {0});
    params.refresh_units = true;
    make_reference_ops()->landmark(params);
  }
  return memory.bytes();
}

TokenStream random_tokens(const LandmarkCase& test, int64_t tokens, uint64_t seed) {
  Random random(seed);
  constexpr size_t kCentres = 7;
  const auto row = static_cast<size_t>(test.kv_heads * test.head_dim);
  std::vector<double> centres(2 * kCentres * row);
  for (double& x : centres) x = random.normal();
  TokenStream stream;
  for (int64_t t = 0; t < tokens; ++t) {
    const double* k = &centres[random.below(kCentres) * row];
    const double* v = &centres[(kCentres + random.below(kCentres)) * row];
    const double spread = 0.1 + 0.9 * random.uniform();
    for (size_t d = 0; d < row; ++d) {
      stream.k.push_back(to_bf16(k[d] + spread * random.normal()));
      stream.v.push_back(to_bf16(v[d] + spread * random.normal()));
    }
    stream.gate.push_back(static_cast<float>(0.05 * static_cast<double>(random.below(20))));
  }
  return stream;
}

TokenStream perturbed(const TokenStream& stream, double relative, uint64_t seed) {
  Random random(seed);
  TokenStream out = stream;
  for (double& x : out.k) x *= 1 + relative * random.normal();
  for (double& x : out.v) x *= 1 + relative * random.normal();
  return out;
}

void reference_scan(const LandmarkCase& test, const LandmarkCodecs& codecs,
                    const TokenStream& stream, int64_t begin,
                    const std::vector<LandmarkStep>& steps, const LandmarkBank& bank) {
  LandmarkParams params = make_params(test, codecs, begin, steps, bank);
  const int64_t row = int64_t{test.kv_heads} * test.head_dim;
  const int64_t tokens = steps.empty() ? 0 : steps.back().end;
  std::vector<double> k(stream.k.begin() + begin * row, stream.k.begin() + (begin + tokens) * row);
  std::vector<double> v(stream.v.begin() + begin * row, stream.v.begin() + (begin + tokens) * row);
  std::vector<float> gate(stream.gate.begin() + begin, stream.gate.begin() + begin + tokens);
  params.k = Tensor(k.data(), DType::f64, Device::cpu, {tokens, test.kv_heads, test.head_dim});
  params.v = Tensor(v.data(), DType::f64, Device::cpu, {tokens, test.kv_heads, test.head_dim});
  params.gate = Tensor(gate.data(), DType::f32, Device::cpu, {tokens});
  make_reference_ops()->landmark(params);
}

DeviceScan::DeviceScan(const LandmarkCase& test, const LandmarkCodecs& codecs,
                       const TokenStream& stream, int64_t begin,
                       const std::vector<LandmarkStep>& steps, const LandmarkBank& bank)
    : k(2 * vector_elements(test, steps) + 16),
      v(2 * vector_elements(test, steps) + 16),
      gate(4 * static_cast<size_t>(token_count(steps)) + 16),
      params(make_params(test, codecs, begin, steps, bank)) {
  const int64_t row = int64_t{test.kv_heads} * test.head_dim;
  const int64_t tokens = token_count(steps);
  const auto part = [&](const std::vector<double>& x) {
    return std::vector<double>(x.begin() + begin * row, x.begin() + (begin + tokens) * row);
  };
  k.upload(part(stream.k), DType::bf16);
  v.upload(part(stream.v), DType::bf16);
  gate.upload({stream.gate.begin() + begin, stream.gate.begin() + begin + tokens}, DType::f32);
  const std::initializer_list<int64_t> shape = {tokens, test.kv_heads, test.head_dim};
  params.k = Tensor(k.data(), DType::bf16, Device::cuda, shape);
  params.v = Tensor(v.data(), DType::bf16, Device::cuda, shape);
  params.gate = Tensor(gate.data(), DType::f32, Device::cuda, {tokens});
}

void device_scan(CudaContext& context, const LandmarkCase& test, const LandmarkCodecs& codecs,
                 const TokenStream& stream, int64_t begin, const std::vector<LandmarkStep>& steps,
                 const LandmarkBank& bank, bool refresh_units) {
  DeviceScan scan(test, codecs, stream, begin, steps, bank);
  scan.params.refresh_units = refresh_units;
  landmark_scan(context, scan.params);
  KVG_CHECK_CUDA(cudaStreamSynchronize(context.stream()));
}

std::unique_ptr<BankMemory> reference_snapshot(const LandmarkCase& test,
                                               const LandmarkCodecs& codecs,
                                               const LandmarkBank& bank) {
  auto snapshot = std::make_unique<BankMemory>(test, codecs, /*on_device=*/false, true);
  reference_scan(test, codecs, {}, 0, {{0, 0, false, &snapshot->bank()}}, bank);
  return snapshot;
}

std::vector<double> decoded(const SlotStore& store, int kv_heads, bool value) {
  const Codec& codec = value ? *store.v_codec : *store.k_codec;
  std::vector<double> out(static_cast<size_t>(kv_heads * store.capacity * codec.head_dim()));
  codec.decode(value ? store.v_codes : store.k_codes, value ? store.v_scales : store.k_scales,
               kv_heads * store.capacity, out.data());
  return out;
}

BankDifference difference(const LandmarkCase& test, const LandmarkBank& a, const LandmarkBank& b) {
  BankDifference d;
  d.decisions = differing(a.exact_valid, b.exact_valid, test.exact) +
                differing(a.summary_valid, b.summary_valid, test.summary);
  if (a.stamps != nullptr && b.stamps != nullptr) {
    d.decisions += differing(a.stamps, b.stamps, test.exact);
  }
  d.exact = slot_distance(a.exact, b.exact, test.kv_heads);
  d.summary = slot_distance(a.summary, b.summary, test.kv_heads);
  const auto floats = [&](const float* x) {
    return std::vector<double>(x, x == nullptr ? x : x + test.summary);
  };
  if (a.counts != nullptr && b.counts != nullptr) {
    d.counts = distance(floats(a.counts), floats(b.counts));
  }
  d.counts = std::max(d.counts, distance(floats(a.log_weight), floats(b.log_weight)));
  const bool bf16 = test.rules.bf16_arithmetic;
  const int64_t exact = test.kv_heads * test.exact * test.head_dim;
  const int64_t summary = test.kv_heads * test.summary * band_of(test);
  if (b.exact_unit != nullptr || b.summary_unit != nullptr) {
    d.units = std::max(
        distance(unit_values(a.exact_unit, exact, bf16), unit_values(b.exact_unit, exact, bf16)),
        distance(unit_values(a.summary_unit, summary, bf16),
                 unit_values(b.summary_unit, summary, bf16)));
  }
  return d;
}

}  // namespace kvg::cuda
