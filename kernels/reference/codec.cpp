#include "kernels/codec.h"

#include "base/error.h"
#include "kernels/reference/codec_eden.h"
#include "kernels/reference/codec_plain.h"

#include <string>

namespace kvg {

std::unique_ptr<Codec> Codec::make(const CodecSpec& spec, int head_dim) {
  if (head_dim < 1) throw Error("codec", "head_dim", std::to_string(head_dim), "at least 1");
  switch (spec.kind) {
    case CodecKind::f32:
      return make_f32_codec(spec, head_dim);
    case CodecKind::bf16:
      return make_bf16_codec(spec, head_dim);
    case CodecKind::fp8:
      return make_fp8_codec(spec, head_dim);
    case CodecKind::int8:
      return make_int8_codec(spec, head_dim);
    case CodecKind::eden:
      return make_eden_codec(spec, head_dim);
  }
  throw Error("codec", "kind", std::to_string(static_cast<int>(spec.kind)),
              "f32, bf16, fp8, int8 or eden");
}

}  // namespace kvg
