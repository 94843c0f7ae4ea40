#include "kernels/cuda/attention/decode.h"
#include "kernels/decode.h"
#include "kernels/landmark_codec.h"

#include <algorithm>
#include <span>

namespace kvg::cuda {

namespace {

bool is_plain(const SlotStore& store) {
  for (const Codec* codec : {store.k_codec, store.v_codec}) {
    if (codec->spec().kind != CodecKind::bf16 || !band_of(*codec).empty()) return false;
  }
  return true;
}

// In f32, the keys whole or in stretches of 16 coordinates.
bool read_summaries(const SlotStore& store, int head_dim, SummaryKeys* keys) {
  if (store.k_codec->spec().kind != CodecKind::f32 ||
      store.v_codec->spec().kind != CodecKind::f32 || !band_of(*store.v_codec).empty()) {
    return false;
  }
  keys->bytes = static_cast<int32_t>(store.k_codec->code_bytes());
  const std::span<const int32_t> band = band_of(*store.k_codec);
  int8_t stored = 0;
  for (int k = 0; k < head_dim / 16; ++k) {
    const auto of_step = [&](int32_t dim) { return dim / 16 == k; };
    const auto count = band.empty() ? 16 : std::ranges::count_if(band, of_step);
    if (count != 0 && count != 16) return false;
    keys->places[k] = count == 16 ? stored++ : int8_t{-1};
  }
  return true;
}

}  // namespace

bool bank_serves(const DecodeState& state, const DecodeSlots& slots, int multiprocessors,
                 SummaryKeys* summaries) {
  const DecodePlan& plan = state.plan();
  // A KV head has one block at most: few of them are better spread by splits and clusters.
  if (plan.head_dim != 128 || plan.heads / plan.kv_heads * plan.streams > 8 || plan.sinks > 0 ||
      plan.window == 0 || plan.frames() > 1 || slots.bank == DecodeBank::random ||
      2 * plan.sequences * plan.kv_heads < multiprocessors) {
    return false;
  }
  for (int64_t i = 0; i < plan.layers * plan.sequences; ++i) {
    const DecodeCache& cache = state.cache(i / plan.sequences, i % plan.sequences);
    if (!is_plain(cache.recent)) return false;
    if (slots.bank == DecodeBank::none) continue;
    if (!is_plain(cache.landmark.exact)) return false;
    SummaryKeys own;
    if (!read_summaries(cache.landmark.summary, plan.head_dim, &own)) return false;
    if (i > 0 &&
        !(own.bytes == summaries->bytes && std::ranges::equal(own.places, summaries->places))) {
      return false;
    }
    *summaries = own;
  }
  return true;
}

}  // namespace kvg::cuda
