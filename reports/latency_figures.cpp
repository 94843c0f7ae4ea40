#include "reports/latency_figures.h"

#include "reports/charts/curve_chart.h"
#include "reports/charts/stacked_bar_chart.h"
#include "reports/latency_tables.h"
#include "reports/text.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// The kinds of a ledger bar: the phases, then the gaps.
std::vector<std::string> ledger_kinds() {
  std::vector<std::string> kinds(kPhaseNames.begin(), kPhaseNames.end());
  kinds.push_back("gaps");
  return kinds;
}

StackedBar ledger_bar(const LatencyDigest& digest, const LatencyCell& cell, double unit) {
  StackedBar bar;
  bar.label = digest.methods[cell.method].label;
  bar.total = time_text(cell.total->seconds);
  if (cell.status == CellStatus::kIncomplete) bar.total += " INCOMPLETE";
  for (size_t k = 0; k < kPhaseNames.size(); ++k) {
    const PhaseShare* phase = cell.phase(kPhaseNames[k]);
    if (phase == nullptr) continue;
    bar.segments.push_back(
        {k, phase->timing.seconds * unit,
         fmt::format("{} {} ({})", kPhaseNames[k], time_text(phase->timing.seconds),
                     percent(phase->timing.seconds / cell.total->seconds))});
  }
  if (cell.gaps > 0) {
    bar.segments.push_back({kPhaseNames.size(), cell.gaps * unit, "gaps " + time_text(cell.gaps)});
  }
  return bar;
}

std::vector<const LatencyCell*> measured_cells(const LatencyDigest& digest,
                                               const std::string& stage, int64_t batch,
                                               int64_t context) {
  std::vector<const LatencyCell*> cells;
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    const LatencyCell* cell = digest.find(stage, batch, context, m);
    if (cell != nullptr && cell->measured()) cells.push_back(cell);
  }
  return cells;
}

Curve curve_of(const LatencyDigest& digest, const std::string& stage, int64_t batch, size_t method,
               const std::function<CurvePoint(const LatencyCell&)>& point) {
  Curve curve{digest.methods[method].label, digest.methods[method].style, {}};
  for (const int64_t context : digest.contexts()) {
    const LatencyCell* cell = digest.find(stage, batch, context, method);
    if (cell != nullptr && cell->measured()) curve.points.push_back(point(*cell));
  }
  return curve;
}

std::string draw_curves(CurveChart chart, const LatencyDigest& digest, const std::string& stage,
                        int64_t batch, const std::function<CurvePoint(const LatencyCell&)>& point) {
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    Curve curve = curve_of(digest, stage, batch, m, point);
    if (!curve.points.empty()) chart.curves.push_back(std::move(curve));
  }
  return chart.curves.empty() ? "" : draw(chart);
}

CurvePoint roofline_point(const LatencyCell& cell, const PhaseShare& phase,
                          const std::string& label) {
  const auto flops = static_cast<double>(phase.flops);
  const auto intensity = flops / static_cast<double>(phase.bytes);
  const double rate = flops / phase.timing.seconds;
  return {intensity,
          rate,
          rate,
          rate,
          label,
          fmt::format("{}: {} of the ceiling, {}, {} FLOP a byte", phase.phase,
                      percent(phase.roof_share), time_text(phase.timing.seconds),
                      fixed(intensity, intensity < 10 ? 2 : 0)) +
              fmt::format(" (context {}, batch {})", thousands(cell.context), cell.batch)};
}

}  // namespace

std::vector<std::string> ledger_figures(const LatencyDigest& digest, const std::string& stage,
                                        int64_t batch) {
  std::vector<StackedBarChart> charts;
  for (const int64_t context : digest.contexts()) {
    StackedBarChart chart;
    chart.kinds = ledger_kinds();
    double longest = 0;
    std::vector<const LatencyCell*> cells = measured_cells(digest, stage, batch, context);
    std::erase_if(cells, [](const LatencyCell* cell) { return cell->phases.empty(); });
    for (const LatencyCell* cell : cells) longest = std::max(longest, cell->total->seconds);
    const double unit = longest < 2e-3 ? 1e6 : longest < 2 ? 1e3 : 1;
    for (const LatencyCell* cell : cells) {
      chart.bars.push_back(ledger_bar(digest, *cell, unit));
    }
    if (chart.bars.empty()) continue;
    chart.title = fmt::format("{}, context {}, batch {}", stage, thousands(context), batch);
    chart.x_label = unit == 1e6 ? "microseconds" : unit == 1e3 ? "milliseconds" : "seconds";
    if (stage == "decode") chart.x_label += " a step";
    charts.push_back(std::move(chart));
  }
  std::vector<std::string> drawings;
  for (StackedBarChart& chart : charts) {
    // Three share a line of the page.
    if (charts.size() % 3 == 0) chart.width = 334;
    drawings.push_back(draw(chart));
  }
  return drawings;
}

std::string time_figure(const LatencyDigest& digest, const std::string& stage, int64_t batch) {
  CurveChart chart;
  const bool decode = stage == "decode";
  chart.title = fmt::format("{}, batch {}", decode ? "Time per token" : "Time to first token",
                            thousands(batch));
  chart.x_label = "context in tokens, log scale";
  chart.y_label = decode ? "milliseconds a step" : "milliseconds, log scale";
  chart.powers_of_two = true;
  chart.log_y = !decode;
  if (decode) chart.low = 0;
  return draw_curves(std::move(chart), digest, stage, batch, [&](const LatencyCell& cell) {
    const Timing& total = *cell.total;
    const Interval bar = total.interval.value_or(Interval{total.seconds, total.seconds});
    return CurvePoint{
        static_cast<double>(cell.context),
        total.seconds * 1e3,
        bar.low * 1e3,
        bar.high * 1e3,
        "",
        fmt::format("{}: {} at {} tokens (n = {})", digest.methods[cell.method].label,
                    time_text(total.seconds), thousands(cell.context), total.repeats)};
  });
}

std::string roofline_figure(const LatencyDigest& digest, const std::string& stage, int64_t batch) {
  CurveChart chart;
  for (const int64_t context : digest.contexts()) {
    const auto cells = measured_cells(digest, stage, batch, context);
    std::vector<Curve> curves;
    for (const LatencyCell* cell : cells) {
      const bool whole = cell == cells.front();
      Curve curve{digest.methods[cell->method].label, digest.methods[cell->method].style, {}};
      curve.joined = false;
      for (const PhaseShare& phase : cell->phases) {
        if (phase.flops <= 0 || phase.bytes <= 0 || !(phase.timing.seconds > 0)) continue;
        if (!whole && phase.phase != "attention" && phase.phase != "bank") continue;
        curve.points.push_back(roofline_point(
            *cell, phase, whole ? phase.phase : phase.phase + " (" + curve.label + ")"));
      }
      if (!curve.points.empty()) curves.push_back(std::move(curve));
    }
    if (curves.empty()) continue;
    chart.curves = std::move(curves);
    chart.title = fmt::format("{}, context {}, batch {}", stage, thousands(context), batch);
  }
  if (chart.curves.empty()) return "";
  double low = 1e300, high = 0;
  for (const Curve& curve : chart.curves) {
    for (const CurvePoint& point : curve.points) {
      low = std::min(low, point.x);
      high = std::max(high, point.x);
    }
  }
  const Ceilings& ceilings = digest.run->ceilings;
  const double ridge = ceilings.linear_flops_per_second / ceilings.copy_bytes_per_second;
  low = std::min(low / 2, ridge / 4);
  high = std::max(high * 4, ridge * 4);
  chart.ceiling = {{low, low * ceilings.copy_bytes_per_second},
                   {ridge, ceilings.linear_flops_per_second},
                   {high, ceilings.linear_flops_per_second}};
  chart.ceiling_label = fmt::format("{}B/s, {}FLOP/s", si_number(ceilings.copy_bytes_per_second),
                                    si_number(ceilings.linear_flops_per_second));
  chart.x_label = "FLOP a byte, log scale";
  chart.y_label = "FLOP / s, log scale";
  chart.log_y = true;
  return draw(chart);
}

std::string capacity_batch_figure(const LatencyDigest& digest) {
  CurveChart chart;
  chart.title = "Largest batch";
  chart.x_label = "context in tokens, log scale";
  chart.y_label = "sequences that fit and decode, log scale";
  chart.powers_of_two = true;
  chart.log_y = true;
  return draw_curves(std::move(chart), digest, "capacity", 0, [&](const LatencyCell& cell) {
    const auto batch = static_cast<double>(cell.batch);
    return CurvePoint{
        static_cast<double>(cell.context),
        batch,
        batch,
        batch,
        "",
        fmt::format("{}: {} sequences of {} tokens", digest.methods[cell.method].label,
                    thousands(cell.batch), thousands(cell.context))};
  });
}

std::string capacity_speed_figure(const LatencyDigest& digest) {
  CurveChart chart;
  chart.title = "Tokens a second at the largest batch";
  chart.x_label = "context in tokens, log scale";
  chart.y_label = "tokens / s, log scale";
  chart.powers_of_two = true;
  chart.log_y = true;
  return draw_curves(std::move(chart), digest, "capacity", 0, [&](const LatencyCell& cell) {
    const Timing& total = *cell.total;
    const auto batch = static_cast<double>(cell.batch);
    const Interval bar = total.interval.value_or(Interval{total.seconds, total.seconds});
    return CurvePoint{
        static_cast<double>(cell.context),
        cell.tokens_per_second(),
        batch / bar.high,
        batch / bar.low,
        "",
        fmt::format("{}: {} tokens a second at batch {}", digest.methods[cell.method].label,
                    thousands(static_cast<int64_t>(cell.tokens_per_second())),
                    thousands(cell.batch))};
  });
}

}  // namespace kvg::reports
