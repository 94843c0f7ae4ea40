#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// Edit distance (insertions, deletions, substitutions), case-insensitive.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `name`, or an empty string when none is near enough to be a typo of it.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// " (did you mean 'X'?)" or "", to append to an error about an unknown name.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

// "a, b, c"
std::string join(std::span<const std::string> parts, std::string_view separator = ", ");

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);

}  // namespace kvg
