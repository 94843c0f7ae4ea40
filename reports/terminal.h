#pragma once

#include "reports/digest.h"

#include <string>

namespace kvg::reports {

// The main result as aligned plain text: what was measured, the table, the result in a few
// sentences.
std::string terminal_text(const Digest& digest);

}  // namespace kvg::reports
