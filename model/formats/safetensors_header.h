#pragma once

#include "kernels/dtype.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// The header of a safetensors file (github.com/huggingface/safetensors): 8 bytes little-endian
// length of the JSON text, the JSON text, then the data. Offsets of tensors count from the start of
// the data.
struct SafetensorsEntry {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // at most four dimensions, zero extents allowed
  uint64_t begin = 0;          // [begin, end) within the data
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // offset of the data in the file
};

// Longest JSON header that is read; the limit of the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

// Parses and checks the header of a file of which `file` is the content; `where` names it in
// errors. Refused with an Error naming tensor, found and expected: a file or header cut short, text
// that is not UTF-8 JSON of the right structure, names or keys given twice, unknown dtypes, shapes
// that overflow or do not match the offsets, offsets outside the data, overlaps, and bytes of the
// data that belong to no tensor. Accepted: data that is not aligned to its dtype.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& where);

// "BF16", "F32" ... as the format spells them.
std::string_view safetensors_dtype_name(DType dtype);

}  // namespace kvg
