#pragma once

#include "bench/kernels/tensors.h"
#include "kernels/codec.h"
#include "kernels/decode.h"
#include "kernels/landmark.h"

#include <cstdint>
#include <memory>
#include <vector>

// Landmark banks and decode caches as the retentions make them, for head_dim 128 and 8 KV heads.
namespace kvg {

inline constexpr int kBenchKvHeads = 8;

// What banks of the fixed semantics are stored with.
struct BankCodecs {
  std::vector<int32_t> slow_dims;
  std::unique_ptr<Codec> exact, summary_k, summary_v;
  std::vector<double> eta;
};
const BankCodecs& bank_codecs();

// Rules of `landmark(exact=64,summary=64)`, fixed semantics.
LandmarkRules bench_rules();

// Empty banks of 64 slots each; a snapshot has what attention reads, in bf16.
LandmarkBank make_bank(Tensors& tensors, bool snapshot);
// The same, full: random slots, all of them valid.
LandmarkBank make_full_bank(Tensors& tensors, const Codec& exact);

// A cache that keeps everything, with `position` tokens in it.
DecodeCache full_cache(Tensors& tensors, const Codec& codec, int64_t position);
// window=256, exact=64, summary=64, long since full.
DecodeCache landmark_cache(Tensors& tensors, const Codec& codec);

DecodePlan full_plan(int64_t sequences, int64_t layers, int64_t max_tokens);
DecodePlan landmark_plan(int64_t sequences, int64_t layers, int64_t max_tokens);

}  // namespace kvg
