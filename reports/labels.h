#pragma once

#include <span>
#include <string>
#include <vector>

namespace kvg::reports {

// Short names for canonical methods, for charts and tables that spell the full ones elsewhere:
// "landmark(window=256,...)+bank:eden(bits=4)" becomes "landmark + bank eden 4-bit". Where two
// would be equal, the arguments in which they differ are added. Contenders keep their names.
std::vector<std::string> short_labels(std::span<const std::string> methods);

// Someone else's operations, which prefill and no more (reports/SCHEMA.md): the name has a blank in
// it, as no method has.
bool is_contender(const std::string& method);

}  // namespace kvg::reports
