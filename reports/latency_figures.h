#pragma once

#include "reports/latency_digest.h"

#include <string>
#include <vector>

namespace kvg::reports {

// The figures of a latency or capacity report as inline SVG; "" where there is nothing to draw.

// The ledger of every method at one batch of one stage: a drawing for each context.
std::vector<std::string> ledger_figures(const LatencyDigest& digest, const std::string& stage,
                                        int64_t batch);
// Time against context, a line for each method, with intervals.
std::string time_figure(const LatencyDigest& digest, const std::string& stage, int64_t batch);
// Phases of the reference, and attention and bank of all methods, under the roofline of the
// ceilings: at the longest context measured.
std::string roofline_figure(const LatencyDigest& digest, const std::string& stage, int64_t batch);
// Largest batch and tokens a second against context.
std::string capacity_batch_figure(const LatencyDigest& digest);
std::string capacity_speed_figure(const LatencyDigest& digest);

}  // namespace kvg::reports
