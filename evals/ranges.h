#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// The syntax of everything that is swept, on the command line and in suites.
//
//   count = digits [ "k" | "M" ]          1k = 1024, 1M = 1024 * 1024
//   item  = count | first ".." last [ "*" factor | "+" step ]
//   list  = item { "," item }
//
// "512,1k,2k..16k*2" is 512 1024 2048 4096 8192 16384; a range without a step counts by one. All
// throw Error(where, key, found, expected).
int64_t parse_count(std::string_view text, std::string_view where, std::string_view key);
std::vector<int64_t> parse_counts(std::string_view text, std::string_view where,
                                  std::string_view key);

// A finite decimal number, the whole text.
double parse_number(std::string_view text, std::string_view where, std::string_view key);

// Splits at commas outside parentheses, trims the parts and drops empty ones:
// "full, sinks(sinks=4,window=60)".
std::vector<std::string> split_list(std::string_view text);

}  // namespace kvg
