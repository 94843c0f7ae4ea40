#pragma once

#include "reports/digest.h"

#include <string>

namespace kvg::reports {

// The report as Markdown: the words and tables of the page.
std::string markdown_document(const Digest& digest);

// One row per method, condition, task and cell, and one for all cells of a task (cell "all"):
// model, method, role, condition, task, cell, metric, estimate, low, high, interval, n, units,
// failed, difference, difference_low, difference_high, p_holm, verdict, bytes. Empty: not
// applicable.
std::string csv_document(const Digest& digest);

}  // namespace kvg::reports
