#pragma once

#include "reports/digest.h"

#include <string>

namespace kvg::reports {

// The report as one self-contained HTML page: style and figures inline, no script, nothing fetched.
std::string html_page(const Digest& digest);

}  // namespace kvg::reports
