#include "model/formats/safetensors_header.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

namespace kvg {

namespace {

constexpr std::array<std::pair<std::string_view, DType>, 8> kDTypes = {
    {{"F64", DType::f64},
     {"F32", DType::f32},
     {"F16", DType::f16},
     {"BF16", DType::bf16},
     {"F8_E4M3", DType::fp8_e4m3},
     {"I64", DType::i64},
     {"I32", DType::i32},
     {"U8", DType::u8}}};

constexpr size_t kMaxRank = 4;  // of Tensor

// Reads the JSON event by event: a document tree would keep only the last of two equal names, and
// would need memory for whatever a damaged file nests. The structure is fixed and three levels
// deep:
//   { name: {"dtype": text, "shape": [n...], "data_offsets": [begin, end]}..., "__metadata__": {k:
//   v} }
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(const std::string& where, SafetensorsHeader* header)
      : where_(where), header_(header) {}

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t value) override { return refuse(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return refuse(text); }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != Level::numbers) return refuse(std::to_string(value));
    if (numbers_.size() > kMaxRank) return refuse("more numbers", "at most four dimensions");
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (level_ == Level::metadata) {
      header_->metadata[key_] = value;
      return true;
    }
    if (level_ != Level::tensor || key_ != "dtype") return refuse("\"" + value + "\"");
    const auto* known = std::find_if(kDTypes.begin(), kDTypes.end(),
                                     [&](const auto& row) { return row.first == value; });
    if (known == kDTypes.end()) {
      return refuse("\"" + value + "\"", "one of F64, F32, F16, BF16, F8_E4M3, I64, I32, U8");
    }
    entry_.dtype = known->second;
    return true;
  }

  bool start_object(size_t) override {
    if (level_ == Level::outside) {
      level_ = Level::top;
    } else if (level_ == Level::top) {
      level_ = key_ == "__metadata__" ? Level::metadata : Level::tensor;
      entry_ = {};
    } else {
      return refuse("an object");
    }
    seen_.clear();
    return true;
  }

  bool end_object() override {
    if (level_ == Level::tensor) {
      for (const char* needed : {"dtype", "shape", "data_offsets"}) {
        if (!seen_.contains(needed))
          throw Error(where_, name_, "no " + std::string(needed), needed);
      }
      header_->tensors[name_] = entry_;
    }
    level_ = level_ == Level::top ? Level::outside : Level::top;
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    if (level_ == Level::top) {
      name_ = value;
      if (!names_.insert(value).second) throw Error(where_, value, "the name twice", "once");
    } else {
      if (!seen_.insert(value).second) {
        throw Error(where_, name_ + ": " + value, "the key twice", "once");
      }
      const bool known = value == "dtype" || value == "shape" || value == "data_offsets";
      if (level_ == Level::tensor && !known) {
        throw Error(where_, name_, "key \"" + value + "\"", "dtype, shape and data_offsets only");
      }
    }
    return true;
  }

  bool start_array(size_t) override {
    if (level_ != Level::tensor || key_ == "dtype") return refuse("an array");
    level_ = Level::numbers;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    level_ = Level::tensor;
    if (key_ == "data_offsets") {
      if (numbers_.size() != 2) return refuse(count_text(), "two numbers, begin and end");
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
      return true;
    }
    if (numbers_.size() > kMaxRank) return refuse(count_text(), "at most four dimensions");
    for (const uint64_t extent : numbers_) {
      if (extent > uint64_t{std::numeric_limits<int64_t>::max()}) {
        return refuse(std::to_string(extent), "an extent below 2^63");
      }
      entry_.shape.push_back(static_cast<int64_t>(extent));
    }
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw Error(where_, "header", "invalid JSON at byte " + std::to_string(position),
                "UTF-8 JSON text");
  }

 private:
  enum class Level { outside, top, metadata, tensor, numbers };

  std::string count_text() const { return std::to_string(numbers_.size()) + " numbers"; }

  [[noreturn]] bool refuse(const std::string& found, std::string expected = "") const {
    if (expected.empty()) {
      switch (level_) {
        case Level::outside:
        case Level::top:
          expected = "an object";
          break;
        case Level::metadata:
          expected = "a string";
          break;
        case Level::numbers:
          expected = "whole numbers, zero or more";
          break;
        case Level::tensor:
          expected = key_ == "dtype" ? "a string" : "an array of numbers";
          break;
      }
    }
    std::string place = level_ == Level::outside ? "header" : name_;
    if (level_ != Level::outside && level_ != Level::top) place += ": " + key_;
    throw Error(where_, place, found, expected);
  }

  const std::string& where_;
  SafetensorsHeader* header_;
  Level level_ = Level::outside;
  std::string name_;             // of the tensor being read
  std::string key_;              // last key of any level
  std::set<std::string> names_;  // at the top level
  std::set<std::string> seen_;   // keys of the object being read
  SafetensorsEntry entry_;
  std::vector<uint64_t> numbers_;
};

// Bytes of a tensor, or nothing when the product overflows.
std::optional<uint64_t> entry_bytes(const SafetensorsEntry& entry) {
  uint64_t bytes = dtype_size(entry.dtype);
  for (const int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) return std::nullopt;
  }
  return bytes;
}

std::string offsets_text(const SafetensorsEntry& entry) {
  return "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
}

void check_offsets(const SafetensorsHeader& header, uint64_t data_size, const std::string& where) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : header.tensors) {
    if (entry.begin > entry.end || entry.end > data_size) {
      throw Error(where, name + ": data_offsets", offsets_text(entry),
                  "a part of the " + std::to_string(data_size) + " bytes of data");
    }
    const std::optional<uint64_t> bytes = entry_bytes(entry);
    if (!bytes) throw Error(where, name + ": shape", "a size that overflows", "a real tensor");
    if (*bytes != entry.end - entry.begin) {
      throw Error(where, name + ": data_offsets",
                  offsets_text(entry) + " = " + std::to_string(entry.end - entry.begin) + " bytes",
                  std::to_string(*bytes) + " bytes for its shape and dtype");
    }
    order.emplace_back(&name, &entry);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t covered = 0;
  for (const auto& [name, entry] : order) {
    if (entry->begin != covered) {
      throw Error(where, *name + ": data_offsets", offsets_text(*entry),
                  "begin " + std::to_string(covered) + ", without overlap or hole");
    }
    covered = entry->end;
  }
  if (covered != data_size) {
    throw Error(where, "data", std::to_string(data_size) + " bytes",
                std::to_string(covered) + " bytes, the end of the last tensor");
  }
}

}  // namespace

std::string_view safetensors_dtype_name(DType dtype) {
  for (const auto& [name, value] : kDTypes) {
    if (value == dtype) return name;
  }
  return "?";
}

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& where) {
  constexpr size_t kPrefix = 8;
  if (file.size() < kPrefix) {
    throw Error(where, "header length", std::to_string(file.size()) + " bytes in the file",
                "at least 8 bytes");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefix; ++i) {
    length |= uint64_t{static_cast<unsigned char>(file[i])} << (8 * i);
  }
  if (length > kMaxSafetensorsHeader) {
    throw Error(where, "header length", std::to_string(length),
                "at most " + std::to_string(kMaxSafetensorsHeader));
  }
  if (length > file.size() - kPrefix) {
    throw Error(where, "header length", std::to_string(length),
                "at most the " + std::to_string(file.size() - kPrefix) + " bytes left in the file");
  }
  SafetensorsHeader header;
  header.data_begin = kPrefix + length;
  HeaderReader reader(where, &header);
  const std::string_view text = file.substr(kPrefix, length);
  if (text.find('\0') != std::string_view::npos) {  // would end the JSON reader's input early
    throw Error(where, "header", "a NUL byte", "UTF-8 JSON text");
  }
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  check_offsets(header, file.size() - header.data_begin, where);
  return header;
}

}  // namespace kvg
