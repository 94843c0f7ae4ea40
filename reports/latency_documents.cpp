#include "base/names.h"
#include "reports/latency_page.h"
#include "reports/latency_tables.h"
#include "reports/text.h"

#include <fmt/format.h>

namespace kvg::reports {

namespace {

void add_table(const std::string& title, const Table& table, std::string* out) {
  if (!table.rows.empty()) *out += fmt::format("## {}\n\n{}\n", title, to_markdown(table));
}

std::string number(double value) { return fmt::format("{:.8g}", value); }

// The columns that every line of the CSV begins with.
struct CsvCell {
  const LatencyDigest& digest;
  const LatencyCell& cell;

  std::string line(const std::string& quantity, const std::string& unit, double value,
                   const std::optional<Interval>& interval, int64_t repeats,
                   const PhaseShare* phase) const {
    std::vector<std::string> fields = {digest.run->model,
                                       digest.methods[cell.method].method,
                                       std::to_string(cell.context),
                                       cell.batch > 0 ? std::to_string(cell.batch) : "",
                                       cell.stage,
                                       std::string(status_text(cell.status)),
                                       quantity,
                                       unit,
                                       number(value),
                                       interval ? number(interval->low) : "",
                                       interval ? number(interval->high) : "",
                                       repeats > 0 ? std::to_string(repeats) : "",
                                       phase != nullptr ? std::to_string(phase->bytes) : "",
                                       phase != nullptr ? std::to_string(phase->flops) : "",
                                       phase != nullptr ? number(phase->roof_share) : ""};
    for (std::string& field : fields) field = csv_field(field);
    return join(fields, ",") + "\n";
  }
  std::string timing(const std::string& quantity, const std::optional<Timing>& timing,
                     const PhaseShare* phase = nullptr) const {
    if (!timing) return "";
    return line(quantity, "s", timing->seconds, timing->interval, timing->repeats, phase);
  }
  std::string plain(const std::string& quantity, const std::string& unit, double value) const {
    return line(quantity, unit, value, std::nullopt, 0, nullptr);
  }
};

std::string csv_cell(const LatencyDigest& digest, const LatencyCell& cell) {
  const CsvCell csv{digest, cell};
  std::string out;
  if (!cell.measured()) {
    return cell.needed ? csv.plain("needed", "B", static_cast<double>(*cell.needed)) : "";
  }
  out += csv.timing("total", cell.total);
  out += csv.timing("traced total", cell.traced);
  out += csv.timing("without bank update", cell.without_bank);
  out += csv.timing("bank update by removal", cell.removed);
  out += csv.timing("overlap", cell.overlap);
  for (const PhaseShare& phase : cell.phases) out += csv.timing(phase.phase, phase.timing, &phase);
  if (!cell.phases.empty()) out += csv.plain("gaps", "s", cell.gaps);
  if (cell.closure) out += csv.plain("closure", "share", *cell.closure);
  out += csv.plain("throughput", "tokens/s", cell.tokens_per_second());
  if (const auto floor = weight_share(digest, cell)) {
    out += csv.plain("weights' floor", "share", *floor);
  }
  if (const auto each = cell.bank_seconds_per_evicted_token()) {
    out += csv.plain("bank update per evicted token", "s", *each);
  }
  out += csv.plain("cache of one sequence", "B", static_cast<double>(cell.cache_bytes.total));
  if (cell.memory_used) {
    out += csv.plain("device memory of the caches", "B", static_cast<double>(*cell.memory_used));
  }
  if (cell.power_watts) {
    if (cell.sm_mhz) out += csv.plain("SM clock", "MHz", *cell.sm_mhz);
    out += csv.plain("power", "W", *cell.power_watts);
    out += csv.plain("energy per token", "J", *cell.joules_per_token());
  }
  if (cell.held_back) out += csv.plain("clocks held back", "share", *cell.held_back);
  return out;
}

}  // namespace

std::string latency_markdown(const LatencyDigest& digest) {
  const LatencyRun& run = *digest.run;
  std::string out = fmt::format("# {}\n\n", markdown_cell(latency_title(digest)));
  out += fmt::format("Run {} on {}, started {}, commit {}.\n\n",
                     markdown_cell(run.run_id.substr(0, 16)), markdown_cell(run.device.name),
                     markdown_cell(run.started),
                     markdown_cell(run.provenance_value("git_commit").substr(0, 12)));
  if (const std::string why = latency_incompleteness(digest); !why.empty()) {
    out += fmt::format("**INCOMPLETE**: {}.\n\n", markdown_cell(why));
  }
  for (const std::string& note : digest.notes) out += fmt::format("- {}\n", markdown_cell(note));
  if (!digest.notes.empty()) out += "\n";
  for (const std::string& sentence : latency_summary(digest)) {
    out += markdown_cell(sentence) + "\n\n";
  }
  if (run.kind == RecordKind::kCapacity) {
    add_table("Capacity", capacity_table(digest), &out);
  } else {
    for (const std::string& stage : run.stages) {
      const std::string name = stage == "decode" ? "Decode" : "Prefill";
      add_table(name, latency_table(digest, stage), &out);
      add_table(name + ": every phase", ledger_table(digest, stage), &out);
      add_table(name + ": against the ceilings", roofline_table(digest, stage), &out);
    }
    add_table("Break-even", break_even_table(digest), &out);
    add_table("Bank update", bank_table(digest), &out);
    add_table("Memory", latency_memory_table(digest), &out);
  }
  add_table("Not measured", unmeasured_table(digest), &out);
  out += "## Reproduction\n\n";
  if (!run.command.empty()) out += fmt::format("    {}\n\n", shorten(join(run.command, " "), 2000));
  out += to_markdown(latency_method_table(digest)) + "\n" + to_markdown(machine_table(digest));
  return out;
}

std::string latency_csv(const LatencyDigest& digest) {
  std::string out =
      "model,method,context,batch,stage,status,quantity,unit,value,low,high,repeats,bytes,flops,"
      "ceiling_share\n";
  for (const LatencyCell& cell : digest.cells) out += csv_cell(digest, cell);
  return out;
}

std::string latency_terminal(const LatencyDigest& digest) {
  const auto lines = [](Table table) {
    for (auto& row : table.rows) {
      if (!row.back().detail.empty()) row.back().text += ", " + row.back().detail;
      for (Cell& cell : row) cell.detail.clear();
    }
    return to_text(table) + "\n";
  };
  std::string text;
  for (const std::string& sentence : latency_summary(digest)) text += sentence + "\n";
  text += "\n";
  if (digest.run->kind == RecordKind::kCapacity) {
    text += lines(capacity_table(digest));
  } else {
    for (const std::string& stage : digest.run->stages) {
      text += stage + "\n" + lines(latency_table(digest, stage));
    }
    if (const Table bank = bank_table(digest); !bank.rows.empty()) {
      text += "bank update\n" + lines(bank);
    }
    if (const Table even = break_even_table(digest); !even.rows.empty()) {
      text += "break-even\n" + lines(even);
    }
  }
  for (const std::string& note : digest.notes) text += note + "\n";
  if (const std::string why = latency_incompleteness(digest); !why.empty()) {
    text += "INCOMPLETE: " + why + "\n";
  }
  return valid_utf8(text);
}

}  // namespace kvg::reports
