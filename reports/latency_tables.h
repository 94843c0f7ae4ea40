#pragma once

#include "reports/latency_digest.h"
#include "reports/table.h"

#include <string>

namespace kvg::reports {

// "3.52 ms", "812 µs", "1.24 s": three significant digits.
std::string time_text(double seconds);
// "3.52 ms" with "[3.50, 3.61]" below, or the number of repeats where there is no interval.
Cell timing_cell(const std::optional<Timing>& timing);

// The tables of a latency or capacity report, shared by its HTML and its Markdown.

// Every cell of one stage: its time, tokens a second, against the reference, whether it closes.
Table latency_table(const LatencyDigest& digest, const std::string& stage);
// The phases of every cell of one stage, with what is left over.
Table ledger_table(const LatencyDigest& digest, const std::string& stage);
// Bytes and FLOPs of every phase against the ceilings.
Table roofline_table(const LatencyDigest& digest, const std::string& stage);
// The bank update by its phase and by removal; no rows without one.
Table bank_table(const LatencyDigest& digest);
// From which context on a method is faster than the reference.
Table break_even_table(const LatencyDigest& digest);
// Caches by formula, beside the device memory that they really took.
Table latency_memory_table(const LatencyDigest& digest);
// Largest batches and their speed.
Table capacity_table(const LatencyDigest& digest);
// Cells that were not measured, and why.
Table unmeasured_table(const LatencyDigest& digest);
// Device, ceilings, settings, environment.
Table machine_table(const LatencyDigest& digest);
Table latency_method_table(const LatencyDigest& digest);

}  // namespace kvg::reports
