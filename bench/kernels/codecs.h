#pragma once

#include "kernels/codec.h"

#include <memory>
#include <string>
#include <vector>

namespace kvg {

struct NamedCodec {
  std::string name;
  std::unique_ptr<Codec> codec;
};

// The codecs that benchmarks go through, for head_dim 128.
const std::vector<NamedCodec>& bench_codecs();

}  // namespace kvg
