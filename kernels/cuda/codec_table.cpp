#include "kernels/cuda/codec_table.h"

#include "base/error.h"
#include "kernels/cuda/codec/make.h"
#include "kernels/landmark_codec.h"

#include <algorithm>
#include <span>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

namespace {

bool has_table_per_site(const Codec& codec) {
  return codec.rotates() && codec.spec().rotation == Rotation::haar;
}

}  // namespace

CodecTable::~CodecTable() {
  for (void* memory : owned_) (void)cudaFree(memory);
}

CodecTable::Entry& CodecTable::entry(const Codec& codec, int kv_heads) {
  const std::span<const int32_t> band = band_of(codec);
  for (Entry& entry : entries_) {
    if (entry.spec == codec.spec() && entry.head_dim == codec.head_dim() &&
        entry.kv_heads == kv_heads && std::ranges::equal(entry.band, band)) {
      return entry;
    }
  }
  entries_.push_back({codec.spec(), codec.head_dim(), {band.begin(), band.end()}, kv_heads, 0, {}});
  return entries_.back();
}

const DeviceCodec& CodecTable::find(const Codec& codec, int32_t layer, int kv_heads,
                                    bool may_upload) {
  const bool per_site = has_table_per_site(codec);
  Entry& found = entry(codec, per_site ? kv_heads : 0);
  const bool made = found.layers > 0;
  if (made && (!per_site || layer < found.layers)) return found.device;
  KVG_CHECK(may_upload, "a codec's tables must be made before a step is recorded");
  // Layers are asked for one after another: room for twice as many each time.
  const int32_t layers = std::max(layer + 1, 2 * found.layers);
  found.device = make_device_codec(codec, layers, kv_heads, &owned_);
  found.layers = layers;
  return found.device;
}

}  // namespace kvg::cuda
