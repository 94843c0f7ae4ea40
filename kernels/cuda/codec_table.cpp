#include "kernels/cuda/codec_table.h"

#include "base/error.h"

#include <algorithm>

namespace kvg::cuda {

namespace {

DeviceCodec make_plain(const Codec& codec) {
  const CodecSpec& spec = codec.spec();
  KVG_CHECK(!codec.rotates(), "codec without a descriptor");
  DeviceCodec device;
  device.kind = spec.kind;
  device.fp8_scale = spec.fp8_scale;
  device.scaled = codec.scale_bytes() > 0;
  device.head_dim = codec.head_dim();
  device.code_bytes = static_cast<int32_t>(codec.code_bytes());
  return device;
}

}  // namespace

const DeviceCodec& CodecTable::find(const Codec& codec, int32_t layer, int kv_heads,
                                    bool may_upload) {
  const bool per_site = codec.rotates() && codec.spec().rotation == Rotation::haar;
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.spec == codec.spec() && entry.head_dim == codec.head_dim() &&
           entry.device.code_bytes == codec.code_bytes() &&
           (!per_site || entry.kv_heads == kv_heads);
  });
  if (found != entries_.end() && (!per_site || layer < found->layers)) return found->device;
  KVG_CHECK(may_upload, "a codec's tables must be made before a step is recorded");
  // Layers are asked for one after another: twice as many each time.
  const int32_t layers = found == entries_.end() ? layer + 1 : std::max(layer + 1, 2 * layer);
  if (found == entries_.end()) {
    entries_.push_back({codec.spec(), codec.head_dim(), kv_heads, {}, layers, make_plain(codec)});
    return entries_.back().device;
  }
  found->device = make_plain(codec);
  found->layers = layers;
  return found->device;
}

}  // namespace kvg::cuda
