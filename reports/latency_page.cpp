#include "reports/latency_page.h"

#include "base/error.h"
#include "base/names.h"
#include "reports/charts/curve_chart.h"
#include "reports/latency_figures.h"
#include "reports/latency_tables.h"
#include "reports/page_writer.h"
#include "reports/text.h"

#include <algorithm>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

class LatencyPage : private PageWriter {
 public:
  explicit LatencyPage(const LatencyDigest& digest) : digest_(digest), run_(*digest.run) {}

  std::string body() {
    add_header();
    if (const std::string why = latency_incompleteness(digest_); !why.empty()) incomplete(why);
    list(digest_.notes, "notes");
    for (const std::string& sentence : latency_summary(digest_)) paragraph(sentence, "lead");
    if (run_.kind == RecordKind::kCapacity) {
      capacity();
    } else {
      if (asked("decode")) decode();
      if (asked("prefill")) prefill();
      bank();
      roofline();
      memory();
    }
    unmeasured();
    reproduction();
    definitions();
    return take();
  }

 private:
  bool asked(const std::string& stage) const {
    return std::find(run_.stages.begin(), run_.stages.end(), stage) != run_.stages.end();
  }

  void add_header() {
    const std::string commit = run_.provenance_value("git_commit").substr(0, 12);
    header("kvgauge " + std::string(run_.kind == RecordKind::kCapacity ? "capacity" : "latency") +
               " report",
           latency_title(digest_),
           {{"run", run_.run_id.substr(0, 16)},
            {"device", run_.device.name},
            {"operations", run_.ops},
            {"started", printed_time(run_.started)},
            {"commit",
             run_.provenance_value("git_dirty") == "true" ? commit + " (modified)" : commit}});
  }

  void curves(const std::string& stage, const std::string& caption) {
    if (digest_.contexts().size() < 2) return;
    std::vector<std::string> drawings;
    for (const int64_t batch : digest_.batches()) {
      if (std::string drawing = time_figure(digest_, stage, batch); !drawing.empty()) {
        drawings.push_back(std::move(drawing));
      }
    }
    figure(drawings, caption);
  }

  void ledgers(const std::string& stage) {
    subheading("Where the time goes");
    for (const int64_t batch : digest_.batches()) {
      figure(ledger_figures(digest_, stage, batch),
             fmt::format("The ledger of {} at batch {}: phases timed inside the real run, and the "
                         "gaps that they leave of the total, which was measured without timing "
                         "anything inside. Each drawing has a scale of its own.",
                         stage, batch));
    }
    raw(fmt::format("<details><summary>Every phase of {}</summary>\n", stage));
    raw(to_html(ledger_table(digest_, stage)) + "</details>\n");
  }

  void decode() {
    heading("Decode");
    raw(to_html(latency_table(digest_, "decode")));
    paragraph(
        "Weights' floor: the time that reading the weights once takes at the measured bandwidth, "
        "as a share of the step. Against full: time over the time of full at the same context and "
        "batch; below 1 is faster.",
        "note");
    curves("decode",
           "Time of one decode step of the whole batch against the context; bars are 95 % "
           "intervals of the median over repeats.");
    breaks("decode");
    ledgers("decode");
  }

  void prefill() {
    heading("Prefill");
    raw(to_html(latency_table(digest_, "prefill")));
    curves("prefill",
           "Time until every sequence of the batch has its first token; bars are 95 % intervals of "
           "the median over repeats.");
    breaks("prefill");
    ledgers("prefill");
  }

  void breaks(const std::string& stage) {
    Table table = break_even_table(digest_);
    std::erase_if(table.rows, [&](const std::vector<Cell>& row) { return row[2].text != stage; });
    if (table.rows.empty()) return;
    subheading("Break-even");
    raw(to_html(table));
  }

  void bank() {
    const Table table = bank_table(digest_);
    if (table.rows.empty()) return;
    heading("Bank update");
    paragraph(
        "What offering evicted tokens to the banks costs, measured twice: by its own phase in the "
        "real run, and as the difference to a run that leaves it out.");
    raw(to_html(table));
  }

  void roofline() {
    std::vector<std::string> drawings;
    for (const std::string& stage : run_.stages) {
      for (const int64_t batch : digest_.batches()) {
        if (std::string drawing = roofline_figure(digest_, stage, batch); !drawing.empty()) {
          drawings.push_back(std::move(drawing));
        }
      }
    }
    if (drawings.empty()) return;
    heading("Roofline");
    figure(drawings,
           "What each phase reaches of what the machine can do. The dashed line is the ceiling "
           "measured in this run: the bandwidth of a large copy, then the rate of a large product. "
           "Bytes are the least that a phase must move, so a point can never be above it but by "
           "what stays in caches. All phases of the first method, attention and bank of the "
           "others, at the longest context measured.");
    for (const std::string& stage : run_.stages) {
      const Table table = roofline_table(digest_, stage);
      if (table.rows.empty()) continue;
      raw(fmt::format("<details><summary>Every phase of {} against the ceilings</summary>\n",
                      escape_html(stage)));
      raw(to_html(table) + "</details>\n");
    }
  }

  void memory() {
    heading("Memory");
    paragraph(
        "What the caches occupy by formula, and by how much the free memory of the device shrank "
        "when they were made (allocations are rounded up; not known on the host).");
    raw(to_html(latency_memory_table(digest_)));
  }

  void capacity() {
    heading("Capacity");
    raw(to_html(capacity_table(digest_)));
    paragraph(
        "The bound divides the free memory by the bytes of one sequence; the largest batch is the "
        "largest that was allocated and decoded.",
        "note");
    figure({capacity_batch_figure(digest_), capacity_speed_figure(digest_)},
           "How many sequences fit beside the weights, and how many tokens a second they decode "
           "together; bars are 95 % intervals of the median over repeats.");
  }

  void unmeasured() {
    const Table table = unmeasured_table(digest_);
    if (table.rows.empty()) return;
    heading("Not measured");
    raw(to_html(table));
  }

  void reproduction() {
    heading("Reproduction");
    if (!run_.command.empty()) {
      raw(fmt::format("<pre>{}</pre>\n", escape_html(join(run_.command, " "))));
    }
    raw("<div class=\"kv\">" + to_html(latency_method_table(digest_)) + "</div>\n");
    raw("<details open><summary>Machine, settings and environment</summary>\n<div class=\"kv\">");
    raw(to_html(machine_table(digest_)) + "</div></details>\n");
  }

  void definitions() {
    heading("How to read the numbers");
    std::vector<std::string> items = {
        "Every time is the median over repeats; rounds visit all cells in an order of their own, "
        "so that drift meets all alike. Intervals are 95 % bootstrap intervals of the median; "
        "fewer than 5 repeats give none.",
        "A decode step takes one token of every sequence in and chooses the next; its time is the "
        "mean of the steps of one timing. It begins at the context given and the caches grow by "
        "the steps made.",
        "Weights may be random and prompts are: times depend on shapes, not on what the tokens "
        "say.",
        "Every number on this page was computed from the lines of items.jsonl and from run.json."};
    if (run_.kind == RecordKind::kLatency) {
      items.insert(
          items.begin() + 1,
          fmt::format("A ledger is closed when the phases miss the total by at most {}; otherwise "
                      "it is INCOMPLETE. Phases and total come from passes of the same repeat, one "
                      "right after the other; a phase is the median of its share of the total. "
                      "What timing an interval costs is taken off the phases.",
                      percent(kClosureLimit, 0)));
    }
    list(items, "note");
  }

  const LatencyDigest& digest_;
  const LatencyRun& run_;
};

// "full 3.52 ms, landmark 3.60 ms"
std::string times_at(const LatencyDigest& digest, const std::string& stage, int64_t batch,
                     int64_t context) {
  std::vector<std::string> parts;
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    const LatencyCell* cell = digest.find(stage, batch, context, m);
    if (cell == nullptr || cell->status == CellStatus::kMissing) continue;
    parts.push_back(digest.methods[m].label + " " +
                    (cell->measured() ? time_text(cell->total->seconds)
                                      : std::string(status_text(cell->status))));
  }
  return join(parts);
}

}  // namespace

std::string latency_title(const LatencyDigest& digest) {
  const LatencyRun& run = *digest.run;
  return run.kind == RecordKind::kCapacity
             ? fmt::format("How many sequences each cache lets {} serve", run.model)
             : fmt::format("What each cache costs on {}", run.model);
}

std::string latency_incompleteness(const LatencyDigest& digest) {
  const LatencyRun& run = *digest.run;
  if (run.status == "failed") return "the run failed: " + printable(run.error);
  if (run.status != "complete") return "the run is " + printable(run.status);
  int64_t open = 0, failed = 0, missing = 0;
  for (const LatencyCell& cell : digest.cells) {
    open += cell.status == CellStatus::kIncomplete ? 1 : 0;
    failed += cell.error.empty() ? 0 : 1;
    missing += cell.status == CellStatus::kMissing || cell.status == CellStatus::kSkipped ? 1 : 0;
  }
  std::vector<std::string> reasons;
  if (open > 0) reasons.push_back(fmt::format("{} ledgers do not close", open));
  if (failed > 0) reasons.push_back(fmt::format("{} cells failed", failed));
  if (missing > 0) reasons.push_back(fmt::format("{} cells were not measured", missing));
  return reasons.empty() ? "" : fmt::format("{} (of {} cells)", join(reasons), digest.cells.size());
}

std::vector<std::string> latency_summary(const LatencyDigest& digest) {
  const LatencyRun& run = *digest.run;
  std::vector<std::string> sentences;
  sentences.push_back(fmt::format(
      "{} under {} methods on {}, {} operations. Measured here: a copy moves {}B/s, a large "
      "product does {}FLOP/s.",
      run.sliced() ? fmt::format("{} ({} of {} layers)", run.model, run.layers, run.full_layers)
                   : run.model,
      run.methods.size(), run.device.name, run.ops, si_number(run.ceilings.copy_bytes_per_second),
      si_number(run.ceilings.linear_flops_per_second)));
  const int64_t context = digest.contexts().empty() ? 0 : digest.contexts().back();
  for (const std::string& stage : digest.stages()) {
    for (const int64_t batch : digest.batches()) {
      const std::string times = times_at(digest, stage, batch, context);
      if (times.empty()) continue;
      sentences.push_back(
          stage == "capacity"
              ? fmt::format("A decode step at the largest batch, context {}: {}.",
                            thousands(context), times)
              : fmt::format("{} at context {}, batch {}: {}.",
                            stage == "decode" ? "Time per token" : "Time to first token",
                            thousands(context), batch, times));
    }
  }
  return sentences;
}

std::string latency_html(const LatencyDigest& digest) {
  return html_document(
      fmt::format("{} \u00B7 kvgauge {}", digest.run->model, digest.run->run_id.substr(0, 8)),
      LatencyPage(digest).body(), digest.run->provenance_value("tool"));
}

}  // namespace kvg::reports
