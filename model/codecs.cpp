#include "base/error.h"
#include "model/method.h"

namespace kvg {

namespace {

// Printed values of the enumerations, in their order.
const std::vector<std::string> kEdenScales = {"unbiased", "s1", "ls", "norm"};
const std::vector<std::string> kRotations = {"hdhd", "hd", "haar"};
const std::vector<std::string> kFp8Scales = {"unit", "vector"};

ArgumentSpec bits() { return {"bits", int64_t{4}, 1, 4, {}, "of a coordinate", true}; }
ArgumentSpec eden_scale() {
  return {"scale", std::string("unbiased"), 0, 0, kEdenScales, "of a vector", false};
}
ArgumentSpec rotation() {
  return {"rotation", std::string("hdhd"), 0, 0, kRotations, "of all vectors of a site", false};
}
ArgumentSpec seed() { return {"seed", int64_t{0}, 0, 0x7fffffff, {}, "of the rotations", false}; }
ArgumentSpec fp8_scale() {
  return {"scale", std::string("unit"), 0, 0, kFp8Scales, "1, or absmax/448 of a vector", false};
}

template <typename Enum>
Enum index_in(const std::vector<std::string>& names, const ArgumentValue& value) {
  const auto& text = std::get<std::string>(value);
  size_t i = 0;
  while (names[i] != text) ++i;
  return static_cast<Enum>(i);
}

}  // namespace

// One row a name. A new codec adds its kind and parameters to kernels/codec.h, and a row here.
std::span<const CodecEntry> codec_table() {
  static const std::vector<CodecEntry> table = {
      {"f32", "exact", {CodecKind::f32}, {}},
      {"bf16", "2 bytes an element; the default", {CodecKind::bf16}, {}},
      {"fp8", "e4m3, 1 byte an element", {CodecKind::fp8}, {fp8_scale()}},
      {"int8",
       "symmetric, 1 byte an element and one fp16 scale a vector, absmax/127",
       {CodecKind::int8},
       {}},
      {"eden",
       "rotation and a Lloyd-Max codebook, one fp16 scale a vector",
       {CodecKind::eden},
       {bits(), eden_scale(), rotation(), seed()}},
      {"drive", "eden(bits=1)", {CodecKind::eden, 1}, {eden_scale(), rotation(), seed()}},
      {"turboquant_mse",
       "eden(scale=s1)",
       {CodecKind::eden, 4, EdenScale::s1},
       {bits(), rotation(), seed()}},
  };
  return table;
}

ArgumentValue codec_argument(const CodecSpec& codec, const std::string& key) {
  if (key == "bits") return int64_t{codec.bits};
  if (key == "scale" && codec.kind == CodecKind::fp8) {
    return kFp8Scales[static_cast<size_t>(codec.fp8_scale)];
  }
  if (key == "scale") return kEdenScales[static_cast<size_t>(codec.scale)];
  if (key == "rotation") return kRotations[static_cast<size_t>(codec.rotation)];
  if (key == "seed") return static_cast<int64_t>(codec.seed);
  check_failed("known codec argument", __FILE__, __LINE__, key);
}

void set_codec_argument(CodecSpec* codec, const std::string& key, const ArgumentValue& value) {
  if (key == "bits") {
    codec->bits = static_cast<int>(std::get<int64_t>(value));
  } else if (key == "scale" && codec->kind == CodecKind::fp8) {
    codec->fp8_scale = index_in<Fp8Scale>(kFp8Scales, value);
  } else if (key == "scale") {
    codec->scale = index_in<EdenScale>(kEdenScales, value);
  } else if (key == "rotation") {
    codec->rotation = index_in<Rotation>(kRotations, value);
  } else if (key == "seed") {
    codec->seed = static_cast<uint64_t>(std::get<int64_t>(value));
  } else {
    check_failed("known codec argument", __FILE__, __LINE__, key);
  }
}

}  // namespace kvg
