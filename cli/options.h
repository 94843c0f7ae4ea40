#pragma once

#include <algorithm>
#include <cctype>
#include <string>

#include <CLI/CLI.hpp>

namespace kvg::cli {

// "--max-tokens" -> "KVG_MAX_TOKENS": every flag has a twin in the environment. KVG_DATA is the
// folder of data files, so --data has another.
inline std::string environment_twin(const std::string& flag) {
  if (flag == "--data") return "KVG_DATASET";
  const size_t begin = flag.rfind("--") + 2;
  std::string name = "KVG_" + flag.substr(begin);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(c));
  });
  return name;
}

// An option that takes a value; its current value is shown as the default.
template <typename T>
CLI::Option* option(CLI::App& app, const std::string& flag, T& value, const std::string& help) {
  return app.add_option(flag, value, help)->envname(environment_twin(flag))->capture_default_str();
}

inline CLI::Option* flag(CLI::App& app, const std::string& name, bool& value,
                         const std::string& help) {
  return app.add_flag(name, value, help)->envname(environment_twin(name));
}

}  // namespace kvg::cli
