#pragma once

#include <span>
#include <string>
#include <vector>

namespace kvg::reports {

// Short names for canonical methods, for charts and tables that spell the full ones elsewhere:
// "landmark(window=256,...)+bank:eden(bits=4)" becomes "landmark + bank eden 4-bit". Where two
// would be equal, the arguments in which they differ are added. Names with blanks, which are no
// methods, stay as they are.
std::vector<std::string> short_labels(std::span<const std::string> methods);

}  // namespace kvg::reports
