#pragma once

#include "kernels/codec.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace kvg {

// A method is a point in three axes: the attention is the checkpoint's; this is the other two.
//
//   method    = retention [ "+" codec | "+window:" codec | "+bank:" codec ]...
//   retention = name [ "(" key "=" value { "," key "=" value } ")" ]
//   codec     = a name of the table in model/codecs.cpp [ "(" key=value,... ")" ]
//
// A bare codec stores everything that way; "window:" and "bank:" differ for the recent tokens and
// for what is kept beyond them. Without a codec, bf16. Examples: "full",
// "sinks(sinks=4,window=380)", "landmark(window=256,exact=64,summary=64)+bank:eden(bits=4)".
// "drive" is read as eden(bits=1) and "turboquant_mse(bits=b)" as eden(bits=b,scale=s1).
using ArgumentValue = std::variant<int64_t, double, std::string>;

// What one argument may be; a row of a policy's table of arguments.
struct ArgumentSpec {
  std::string name;
  ArgumentValue fallback;            // decides the type
  double minimum = 0, maximum = 0;   // of numbers
  std::vector<std::string> choices;  // of strings
  std::string help;
  bool always_printed = false;  // in the canonical form even when it is the default
};

// One row of the table of codecs (model/codecs.cpp): a name on the command line, the spec it starts
// from, and the arguments that change it. Several names may share a kind; the first is the
// canonical one.
struct CodecEntry {
  std::string name;
  std::string help;
  CodecSpec base;
  std::vector<ArgumentSpec> arguments;
};

std::span<const CodecEntry> codec_table();
// Reads or sets the field of a spec that an argument stands for.
ArgumentValue codec_argument(const CodecSpec& codec, const std::string& key);
void set_codec_argument(CodecSpec* codec, const std::string& key, const ArgumentValue& value);

struct RetentionSpec {
  std::string name;
  std::map<std::string, ArgumentValue> arguments;  // complete: defaults filled in

  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  const std::string& text(const std::string& key) const;
};

struct Method {
  RetentionSpec retention;
  CodecSpec window_codec;
  CodecSpec bank_codec;

  // Throws Error: unknown names come with the nearest known one, values with their range.
  static Method parse(std::string_view text);
  // The one printed form, which parse() reads back to an equal method and which is the key of
  // results.
  std::string canonical() const;
};

// Splits a list of methods at commas outside parentheses: "full,sinks(sinks=4,window=60)".
std::vector<Method> parse_methods(std::string_view text);

CodecSpec parse_codec(std::string_view text);
std::string canonical(const CodecSpec& codec);

}  // namespace kvg
