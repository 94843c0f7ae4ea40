#pragma once

#include "reports/digest.h"
#include "reports/table.h"

namespace kvg::reports {

// The tables of a report, shared by its HTML and its Markdown.

// A method's name with its colour; the canonical text on hovering.
Cell method_cell(const MethodView& method);
// "97.5 %" with "[95.0, 98.8]" below; "-" without a metric.
Cell accuracy_cell(const std::optional<Metric>& metric);
// "2.104" with its interval below.
Cell nats_cell(const std::optional<Metric>& metric);
// The verdict and the difference with its interval.
Cell contrast_cell(const Measure& measure, const std::optional<Contrast>& contrast);
// "[-2.1, +0.4]"
std::string interval_text(const std::optional<Interval>& interval, double unit, int decimals,
                          bool with_sign);
// "1/16.3"; "1" for equal sizes
std::string ratio_text(double bytes, double reference);

// The result: size, ratio, every one of `measures` with its difference to the reference, prefill
// speed.
Table result_table(const Digest& digest, const std::vector<const Measure*>& measures);
// Measures in groups of at most three, as even as can be: what fits side by side.
std::vector<std::vector<const Measure*>> rows_of(const std::vector<const Measure*>& measures);
// Floors and ceilings: closed-book, random cache, reference, oracle.
Table control_table(const Digest& digest);
// Where the answers of a measure were lost: held, read given held, right given read, and right
// although not held; without rows when no item was probed.
Table retention_table(const Digest& digest, const Measure& measure);
// Keys, values, scales, metadata of the longest length, with what items measured.
Table memory_table(const Digest& digest);
// Every protocol and context of perplexity.
Table likelihood_table(const Digest& digest);
// Accuracy by a property; columns are groups.
Table breakdown_table(const Digest& digest, const Breakdown& breakdown, const std::string& title);
// Tokens generated, answers cut off, failures.
Table behaviour_table(const Digest& digest);
// Items and methods that failed, at most `limit` of each kind of message.
Table failure_table(const Digest& digest);
// Items that the reference got right and at least one method wrong.
Table example_table(const Digest& digest, const Measure& measure, size_t limit);
// Where the numbers come from: ids, hashes, seeds, environment.
Table provenance_table(const Digest& digest);
// The canonical text behind every short name.
Table method_table(const Digest& digest);

// The sizes that items reported exceed what was provisioned by more than 2 %: a wrong claim.
std::vector<std::string> size_warnings(const Digest& digest);

}  // namespace kvg::reports
