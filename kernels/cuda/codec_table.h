#pragma once

#include "kernels/codec.h"
#include "kernels/cuda/codec/device_codec.h"

#include <cstdint>
#include <list>
#include <vector>

namespace kvg::cuda {

// The descriptors of the codecs in use, with their tables on the device. Codecs that store alike
// share one, and nothing is freed before the table is: descriptors are copied into other tables.
class CodecTable {
 public:
  CodecTable() = default;
  ~CodecTable();
  CodecTable(const CodecTable&) = delete;
  CodecTable& operator=(const CodecTable&) = delete;

  // For layers 0..layer. `may_upload`: whether tables may be made now (not within a capture).
  const DeviceCodec& find(const Codec& codec, int32_t layer, int kv_heads, bool may_upload);

 private:
  struct Entry {
    CodecSpec spec;
    int head_dim = 0;
    std::vector<int32_t> band;
    int kv_heads = 0;    // where each site has its own table; 0 otherwise
    int32_t layers = 0;  // likewise
    DeviceCodec device;
  };
  Entry& entry(const Codec& codec, int kv_heads);

  std::list<Entry> entries_;
  std::vector<void*> owned_;
};

}  // namespace kvg::cuda
