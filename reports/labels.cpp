#include "reports/labels.h"

#include "base/names.h"

#include <map>
#include <set>
#include <string_view>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

struct Parts {
  std::string name;
  std::vector<std::string> arguments;  // "key=value", in order
  std::string codec;                   // printed, "" for the default
};

std::vector<std::string> arguments_of(std::string_view call) {
  const size_t open = call.find('(');
  if (open == std::string_view::npos || call.back() != ')') return {};
  return split(call.substr(open + 1, call.size() - open - 2), ',');
}

// "bank:eden(bits=4,scale=s1)" -> "bank eden 4-bit s1"
std::string printed_codec(std::string_view codec) {
  std::string printed;
  if (const size_t colon = codec.find(':'); colon != std::string_view::npos) {
    printed = std::string(codec.substr(0, colon)) + " ";
    codec = codec.substr(colon + 1);
  }
  printed += std::string(codec.substr(0, codec.find('(')));
  for (const std::string& argument : arguments_of(codec)) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) continue;
    const std::string value = argument.substr(equals + 1);
    printed += argument.starts_with("bits=") ? fmt::format(" {}-bit", value) : " " + value;
  }
  return printed;
}

Parts parts_of(const std::string& method) {
  if (is_contender(method)) return {method, {}, ""};
  const std::vector<std::string> pieces = split(method, '+');
  Parts parts;
  parts.name = pieces[0].substr(0, pieces[0].find('('));
  parts.arguments = arguments_of(pieces[0]);
  for (size_t i = 1; i < pieces.size(); ++i) {
    if (pieces[i] == "bf16") continue;
    parts.codec += " + " + printed_codec(pieces[i]);
  }
  return parts;
}

}  // namespace

bool is_contender(const std::string& method) { return method.find(' ') != std::string::npos; }

std::vector<std::string> short_labels(std::span<const std::string> methods) {
  std::vector<Parts> parts;
  std::map<std::string, std::vector<size_t>> alike;
  for (const std::string& method : methods) {
    parts.push_back(parts_of(method));
    alike[parts.back().name + parts.back().codec].push_back(parts.size() - 1);
  }
  std::vector<std::string> labels(methods.size());
  for (const auto& [label, members] : alike) {
    std::map<std::string, size_t> uses;
    for (const size_t member : members) {
      const std::set<std::string> distinct(parts[member].arguments.begin(),
                                           parts[member].arguments.end());
      for (const std::string& argument : distinct) ++uses[argument];
    }
    for (const size_t member : members) {
      std::vector<std::string> different;
      for (const std::string& argument : parts[member].arguments) {
        if (uses[argument] < members.size()) different.push_back(argument);
      }
      const std::string suffix = different.empty() ? "" : fmt::format("({})", join(different));
      labels[member] = parts[member].name + suffix + parts[member].codec;
    }
  }
  return labels;
}

}  // namespace kvg::reports
