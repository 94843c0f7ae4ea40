#include "bench/kernels/banks.h"

#include "kernels/landmark_codec.h"

#include <bit>

namespace kvg {

namespace {

constexpr int kHeadDim = 128;
constexpr int64_t kWindow = 256, kBank = 64;

// Numbers that are f32 or bytes on either side.
float* floats(Tensors& t, int64_t count, float value) {
  return static_cast<float*>(
      t.tokens(std::vector<int32_t>(static_cast<size_t>(count), std::bit_cast<int32_t>(value)))
          .data);
}
uint8_t* ones(Tensors& t, int64_t count) {
  return static_cast<uint8_t*>(
      t.tokens(std::vector<int32_t>(static_cast<size_t>(count / 4), 0x01010101)).data);
}

LandmarkBank stores(Tensors& t, const Codec& exact, const Codec& summary_k,
                    const Codec& summary_v) {
  LandmarkBank bank;
  bank.exact = make_store(t, exact, kBenchKvHeads, kBank);
  bank.summary = make_store(t, summary_k, summary_v, kBenchKvHeads, kBank);
  return bank;
}

DecodePlan plan(int64_t sequences, int64_t layers, int64_t max_tokens) {
  DecodePlan plan;
  plan.sequences = sequences;
  plan.layers = layers;
  plan.max_tokens = max_tokens;
  plan.heads = 32;
  plan.kv_heads = kBenchKvHeads;
  plan.head_dim = kHeadDim;
  plan.streams = 2;
  return plan;
}

}  // namespace

const BankCodecs& bank_codecs() {
  static const BankCodecs kCodecs = [] {
    BankCodecs codecs;
    for (int32_t d = 0; d < kHeadDim; ++d) {  // the slower half of half-split pairs
      if (d % (kHeadDim / 2) >= kHeadDim / 4) codecs.slow_dims.push_back(d);
    }
    codecs.exact = Codec::make({}, kHeadDim);
    codecs.summary_v = Codec::make({.kind = CodecKind::f32}, kHeadDim);
    codecs.summary_k = make_band_codec(CodecKind::f32, kHeadDim, codecs.slow_dims);
    codecs.eta.assign(kBenchKvHeads, 0.05);
    return codecs;
  }();
  return kCodecs;
}

LandmarkRules bench_rules() {
  LandmarkRules rules;
  rules.sinks = 4;
  return rules;
}

LandmarkBank make_bank(Tensors& t, bool snapshot) {
  const BankCodecs& codecs = bank_codecs();
  LandmarkBank bank = snapshot ? stores(t, *codecs.exact, *codecs.exact, *codecs.exact)
                               : stores(t, *codecs.exact, *codecs.summary_k, *codecs.summary_v);
  bank.exact_valid = t.memory(kBank);
  bank.summary_valid = t.memory(kBank);
  bank.log_weight = floats(t, kBank, 0);
  if (snapshot) return bank;
  bank.counts = floats(t, kBank, 0);
  bank.stamps = reinterpret_cast<int64_t*>(t.memory(kBank * 8));
  return bank;
}

LandmarkBank make_full_bank(Tensors& t, const Codec& exact) {
  const BankCodecs& codecs = bank_codecs();
  LandmarkBank bank = stores(t, exact, *codecs.summary_k, *codecs.summary_v);
  t.fill(bank.exact, kBenchKvHeads, 0, kBank);
  t.fill(bank.summary, kBenchKvHeads, 0, kBank);
  bank.exact_valid = ones(t, kBank);
  bank.summary_valid = ones(t, kBank);
  bank.log_weight = floats(t, kBank, 0.5f);
  bank.counts = floats(t, kBank, 2);
  bank.stamps = reinterpret_cast<int64_t*>(t.memory(kBank * 8));
  return bank;
}

DecodeCache full_cache(Tensors& t, const Codec& codec, int64_t position) {
  DecodeCache cache;
  cache.recent = make_store(t, codec, kBenchKvHeads, position + 1);
  t.fill(cache.recent, kBenchKvHeads, 0, position);
  return cache;
}

DecodeCache landmark_cache(Tensors& t, const Codec& codec) {
  DecodeCache cache;
  cache.recent = make_store(t, codec, kBenchKvHeads, kWindow);
  t.fill(cache.recent, kBenchKvHeads, 0, kWindow);
  cache.landmark = make_full_bank(t, codec);
  cache.gates = floats(t, kWindow, 0.75f);
  cache.eta = bank_codecs().eta.data();
  return cache;
}

DecodePlan full_plan(int64_t sequences, int64_t layers, int64_t max_tokens) {
  return plan(sequences, layers, max_tokens);
}

DecodePlan landmark_plan(int64_t sequences, int64_t layers, int64_t max_tokens) {
  DecodePlan p = plan(sequences, layers, max_tokens);
  p.window = kWindow;
  p.bank = DecodeBank::landmark;
  p.rules = bench_rules();
  p.slow_dims = bank_codecs().slow_dims;
  return p;
}

}  // namespace kvg
