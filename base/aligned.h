#pragma once

#include <string>
#include <vector>

namespace kvg {

// Rows of cells as lines of text: columns two spaces apart, padded to their widest cell
// (characters, not bytes), left-aligned where `left[column]`, else right-aligned. Every row has
// left.size() cells.
std::vector<std::string> align_columns(const std::vector<std::vector<std::string>>& rows,
                                       const std::vector<bool>& left);

}  // namespace kvg
