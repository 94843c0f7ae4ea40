#pragma once

#include "reports/latency_digest.h"

#include <string>

namespace kvg::reports {

// The report of a latency or capacity record in its forms.
std::string latency_html(const LatencyDigest& digest);
std::string latency_markdown(const LatencyDigest& digest);
// A line for every number: cells, their phases, their memory.
std::string latency_csv(const LatencyDigest& digest);
// The main table and what is wrong, for a terminal.
std::string latency_terminal(const LatencyDigest& digest);

// Why the record is not the whole run, or its ledgers do not close; "" when all is well.
std::string latency_incompleteness(const LatencyDigest& digest);
// What was measured, and the result, in a few sentences.
std::vector<std::string> latency_summary(const LatencyDigest& digest);
std::string latency_title(const LatencyDigest& digest);

}  // namespace kvg::reports
