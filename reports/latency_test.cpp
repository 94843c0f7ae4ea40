#include "reports/charts/curve_chart.h"
#include "reports/charts/stacked_bar_chart.h"
#include "reports/compare.h"
#include "reports/latency_digest.h"
#include "reports/latency_page.h"
#include "reports/latency_record.h"
#include "reports/latency_tables.h"
#include "reports/markup_test_util.h"
#include "reports/report.h"
#include "reports/run_test_util.h"
#include "reports/synthetic_latency.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg::reports {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

StatisticsOptions quick() {
  StatisticsOptions options;
  options.resamples = 300;
  return options;
}

class LatencyTest : public ::testing::Test {
 protected:
  LatencyTest() : run_(folder_ / "run") {}

  LatencyRun read() const { return read_latency_run(run_); }
  std::string read_error() const {
    return error_of([&] { read(); });
  }
  std::string page() {
    ReportOptions options;
    options.statistics = quick();
    files_ = write_report(run_, options);
    const std::string html = read_text(files_.html);
    EXPECT_EQ(markup_error(html), "");
    for (const char* forbidden : {"<script", "src=", "href=", "url(http", "@import", ">nan", "[nan",
                                  "\"nan", ">inf", "[inf", "\"inf"}) {
      EXPECT_EQ(html.find(forbidden), std::string::npos) << forbidden;
    }
    return html;
  }

  TemporaryFolder folder_;
  std::filesystem::path run_;
  ReportFiles files_;
};

TEST(BreakEvenTest, InterpolatesWhereTheDifferenceChangesItsSign) {
  // The method costs 5 everywhere, the reference 1 a thousand tokens: they meet at 5000.
  const BreakEven from = break_even({2000, 8000}, {5, 5}, {2, 8});
  EXPECT_EQ(from.kind, BreakEven::Kind::kFrom);
  EXPECT_NEAR(from.context, 5000, 1e-9);
  EXPECT_THAT(from.text(), HasSubstr("from about 5,000"));
  const BreakEven until = break_even({2000, 8000}, {2, 8}, {5, 5});
  EXPECT_EQ(until.kind, BreakEven::Kind::kUntil);
  EXPECT_NEAR(until.context, 5000, 1e-9);
}

TEST(BreakEvenTest, SaysWhenThereIsNone) {
  EXPECT_EQ(break_even({1, 2, 3}, {1, 1, 1}, {2, 2, 2}).kind, BreakEven::Kind::kAlways);
  EXPECT_EQ(break_even({1, 2, 3}, {2, 2, 2}, {1, 1, 1}).kind, BreakEven::Kind::kNever);
  EXPECT_EQ(break_even({}, {}, {}).kind, BreakEven::Kind::kUnknown);
  // Of several crossings the last one counts: what holds for long contexts.
  const BreakEven last = break_even({1, 2, 3, 4}, {1, 3, 1, 3}, {2, 2, 2, 2});
  EXPECT_EQ(last.kind, BreakEven::Kind::kUntil);
  EXPECT_NEAR(last.context, 3.5, 1e-9);
}

TEST(ClosureTest, CountsBothWays) {
  const std::vector<double> parts = {0.5, 0.3};
  EXPECT_DOUBLE_EQ(ledger_closure(parts, 1.0), 0.2);
  EXPECT_NEAR(ledger_closure(parts, 0.75), 0.05 / 0.75, 1e-12);
}

TEST(TimingTest, MedianWithAnIntervalFromFiveRepeatsOn) {
  const std::vector<double> four = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(median_timing(four, quick())->seconds, 2.5);
  EXPECT_FALSE(median_timing(four, quick())->interval);
  const std::vector<double> five = {4, 1, 3, 2, 100};
  const auto timing = median_timing(five, quick());
  EXPECT_DOUBLE_EQ(timing->seconds, 3);
  ASSERT_TRUE(timing->interval);
  EXPECT_LE(timing->interval->low, 3);
  EXPECT_GE(timing->interval->high, 3);
  EXPECT_FALSE(median_timing({}, quick()));
}

TEST(TimeTextTest, ThreeDigitsWithAUnit) {
  EXPECT_EQ(time_text(3.5249e-3), "3.52\u00A0ms");
  EXPECT_EQ(time_text(812.4e-6), "812\u00A0\u00B5s");
  EXPECT_EQ(time_text(1.24), "1.24\u00A0s");
  EXPECT_EQ(time_text(42e-9), "42.0\u00A0ns");
  EXPECT_EQ(si_number(4.25e12), "4.25 T");
  EXPECT_EQ(si_number(999.9), "1 k");
}

TEST_F(LatencyTest, ReadsWhatWasWritten) {
  write_synthetic_latency(run_, {});
  EXPECT_EQ(record_kind(run_), RecordKind::kLatency);
  const LatencyRun run = read();
  EXPECT_TRUE(run.notes.empty()) << run.notes.front();
  EXPECT_EQ(run.methods.size(), 4u);
  EXPECT_EQ(run.contexts, (std::vector<int64_t>{2048, 8192, 32768}));
  EXPECT_EQ(run.stride, 4);
  EXPECT_EQ(run.device.after.held_back_by, "power cap");
  EXPECT_EQ(*run.device.before.sm_mhz, 1980);
  EXPECT_FALSE(run.device.after.memory_mhz);
  EXPECT_EQ(run.provenance_value("git_commit"), std::string(40, 'c'));
  const LatencyRow& first = run.rows.front();
  EXPECT_EQ(first.stage, "prefill");
  EXPECT_EQ(first.phases.size(), 8u);
  EXPECT_GT(first.seconds, 0);
  EXPECT_EQ(first.power_watts.value_or(0), 642.5);
  EXPECT_EQ(first.held_back_by, "power cap");
  EXPECT_EQ(run.cells.size(), 4u * 3 * 2 * 2);
}

TEST_F(LatencyTest, DigestAddsUp) {
  SyntheticLatencyOptions options;
  options.noise = 0;
  options.missing = 0.02;
  write_synthetic_latency(run_, options);
  const LatencyRun run = read();
  const LatencyDigest digest = make_latency_digest(run, quick());
  EXPECT_TRUE(digest.complete());
  for (const LatencyCell& cell : digest.cells) {
    if (!cell.measured()) continue;
    double sum = cell.gaps;
    for (const PhaseShare& phase : cell.phases) sum += phase.timing.seconds;
    EXPECT_NEAR(sum, cell.total->seconds, 1e-12 * sum);
    EXPECT_NEAR(*cell.closure, 0.02, 1e-9);
    EXPECT_EQ(cell.status, CellStatus::kClosed);
    EXPECT_EQ(cell.total->repeats, 5);
  }
  // Roofline: products were invented at 85 % of the ceiling.
  const LatencyCell& decode = *digest.find("decode", 1, 2048, 2);
  EXPECT_NEAR(decode.phase("mlp")->roof_share, 0.85, 1e-6);
  EXPECT_FALSE(decode.phase("mlp")->compute_bound);
  EXPECT_TRUE(digest.find("prefill", 1, 2048, 2)->phase("mlp")->compute_bound);
  EXPECT_NEAR(*weight_share(digest, decode), 14.2e9 / 4.25e12 / decode.total->seconds, 1e-9);
  // The bank by its phase, per evicted token: one token a step.
  EXPECT_NEAR(*decode.bank_seconds_per_evicted_token(), 3e-5, 1e-12);
  EXPECT_FALSE(digest.find("decode", 1, 2048, 0)->bank_seconds_per_evicted_token());
  EXPECT_NEAR(decode.tokens_per_second(), 1 / decode.total->seconds, 1e-9);
  EXPECT_NEAR(decode.overlap->seconds, 0.02 * decode.total->seconds, 1e-12);
  EXPECT_FALSE(digest.find("prefill", 1, 2048, 2)->overlap);
  EXPECT_EQ(digest.methods[0].style.css_class, "mf");
  EXPECT_EQ(decode.sm_mhz.value_or(0), 1755);
  EXPECT_EQ(decode.held_back.value_or(0), 0.25);
}

TEST_F(LatencyTest, LedgersThatDoNotCloseAreIncomplete) {
  SyntheticLatencyOptions options;
  options.missing = 0.2;
  write_synthetic_latency(run_, options);
  const std::string html = page();
  EXPECT_FALSE(files_.complete);
  EXPECT_THAT(html, AllOf(HasSubstr("INCOMPLETE"), HasSubstr("ledgers do not close")));
  EXPECT_THAT(files_.summary, HasSubstr("INCOMPLETE"));
  EXPECT_THAT(read_text(files_.markdown), HasSubstr("INCOMPLETE"));
  EXPECT_THAT(read_text(files_.csv), HasSubstr("INCOMPLETE"));
}

TEST_F(LatencyTest, WholePage) {
  write_synthetic_latency(run_, {});
  const std::string html = page();
  EXPECT_TRUE(files_.complete);
  for (const char* heading :
       {"Decode", "Prefill", "Bank update", "Roofline", "Memory", "Not measured", "Reproduction"}) {
    EXPECT_THAT(html, HasSubstr(std::string("<h2>") + heading + "</h2>"));
  }
  EXPECT_THAT(html, Not(HasSubstr("INCOMPLETE</b>")));
  EXPECT_THAT(html, HasSubstr("NVIDIA H200"));
  EXPECT_THAT(html, HasSubstr("held back by power cap"));
  EXPECT_THAT(html, HasSubstr("of caches and buffers"));  // full at 32k, batch 64
  // A ledger for every context and batch of both stages, but where nothing fits.
  EXPECT_EQ(count_of(html, "aria-label=\"decode, context "), 6u + 2u);  // and two rooflines
  EXPECT_THAT(files_.summary, HasSubstr("break-even"));
  const std::string csv = read_text(files_.csv);
  EXPECT_THAT(csv, HasSubstr(",decode,closes,attention,s,"));
  EXPECT_THAT(csv, HasSubstr(",too large,needed,B,"));
  EXPECT_THAT(csv, HasSubstr(",power,W,642.5"));
  const LatencyRun run = read();
  const LatencyDigest digest = make_latency_digest(run, quick());
  const LatencyCell& decode = *digest.find("decode", 1, 2048, 0);
  EXPECT_NEAR(decode.joules_per_token().value_or(0), 642.5 * decode.total->seconds, 1e-9);
  EXPECT_THAT(csv, HasSubstr(",energy per token,J,"));
  EXPECT_THAT(html, HasSubstr("held back 25.0\u00A0% of the time"));
}

TEST_F(LatencyTest, CapacityPage) {
  SyntheticLatencyOptions options;
  options.contexts = {8192, 32768, int64_t{1} << 20};
  write_synthetic_capacity(run_, options);
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("<h2>Capacity</h2>"));
  EXPECT_THAT(html, HasSubstr("Tokens a second at the largest batch"));
  const LatencyRun run = read();
  const LatencyDigest digest = make_latency_digest(run, quick());
  const LatencyCell& cell = *digest.find("capacity", 0, 8192, 0);
  EXPECT_EQ(cell.bound_batch, 93);
  EXPECT_EQ(cell.batch, 91);
  EXPECT_NEAR(cell.tokens_per_second(), 91 / cell.total->seconds, 1e-9);
  EXPECT_THAT(html, HasSubstr("Energy per token"));
  EXPECT_EQ(digest.find("capacity", 0, int64_t{1} << 20, 0)->status, CellStatus::kTooLarge);
}

TEST_F(LatencyTest, SlicesAndMissingRepeatsAreSaid) {
  SyntheticLatencyOptions options;
  options.sliced = true;
  write_synthetic_latency(run_, options);
  edit_items(run_, [](const json& row) { return row["repeat"] < 3 || row["context"] != 2048; });
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("4 of its 32 layers"));
  EXPECT_THAT(html, HasSubstr("fewer than the 5 repeats asked for"));
  EXPECT_THAT(html, HasSubstr("n = 3"));
}

TEST_F(LatencyTest, AVerdictThatTheLinesDoNotShareIsNoted) {
  write_synthetic_latency(run_, {});
  edit_run(run_, [](json& run) { run["cells"][0]["status"] = "incomplete"; });
  const LatencyRun run = read();
  const LatencyDigest digest = make_latency_digest(run, quick());
  ASSERT_FALSE(digest.notes.empty());
  EXPECT_THAT(digest.notes.back(), HasSubstr("run.json says incomplete, its lines say closed"));
}

TEST_F(LatencyTest, AKilledRunShowsWhatItHas) {
  write_synthetic_latency(run_, {});
  edit_run(run_, [](json& run) { run["status"] = "running"; });
  std::string items = read_text(run_ / "items.jsonl");
  items.resize(items.size() / 2);
  write_text(run_ / "items.jsonl", items);
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("the run is running"));
  EXPECT_THAT(html, HasSubstr("cut off"));
}

TEST_F(LatencyTest, HostileTextIsEscaped) {
  write_synthetic_latency(run_, {});
  edit_run(run_, [](json& run) { run["device"]["name"] = "<b>&\"x"; });
  edit_items(run_, [](json& row) {
    if (row["context"] == 8192) {
      row = {{"key", row["key"]},     {"method", row["method"]}, {"context", 8192},
             {"batch", row["batch"]}, {"stage", row["stage"]},   {"repeat", row["repeat"]},
             {"error", "<script>&"}};
    }
    return true;
  });
  EXPECT_THAT(page(), HasSubstr("&lt;script&gt;&amp;"));
}

TEST_F(LatencyTest, MalformedRunsSayWhere) {
  const std::vector<std::pair<std::function<void(json&)>, std::vector<std::string>>> cases = {
      {[](json& run) { run["kind"] = "speed"; }, {"kind", "speed", "latency or capacity"}},
      {[](json& run) { run["schema_version"] = 2; }, {"schema_version", "expected 1"}},
      {[](json& run) { run["ceilings"]["copy_bytes_per_second"] = 0; },
       {"ceilings.copy_bytes_per_second", "greater than 0"}},
      {[](json& run) { run["request"]["contexts"] = {0}; }, {"request.contexts", "1 or more"}},
      {[](json& run) { run["request"]["methods"] = {1}; }, {"request.methods", "strings"}},
      {[](json& run) { run["request"]["model"]["full_layers"] = 3; }, {"full_layers"}},
      {[](json& run) { run["cells"][0]["status"] = "fine"; }, {"cells[0].status", "fine"}},
      {[](json& run) { run.erase("device"); }, {"device", "found nothing"}},
      {[](json& run) { run["calibration"] = 1; }, {"calibration", "a string"}},
  };
  for (const auto& [edit, parts] : cases) {
    write_synthetic_latency(run_, {});
    edit_run(run_, edit);
    const std::string error = read_error();
    EXPECT_THAT(error, HasSubstr("run.json"));
    for (const std::string& part : parts) EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST_F(LatencyTest, MalformedLinesSayWhere) {
  const std::vector<std::pair<std::function<void(json&)>, std::vector<std::string>>> cases = {
      {[](json& row) { row["stage"] = "training"; }, {"stage", "prefill or decode"}},
      {[](json& row) { row["seconds"] = -1; }, {"seconds", "greater than 0"}},
      {[](json& row) { row["seconds"] = nullptr; }, {"seconds"}},
      {[](json& row) { row["phases"]["cooking"] = row["phases"]["mlp"]; }, {"cooking", "phase"}},
      {[](json& row) { row["phases"]["mlp"]["seconds"] = -1e-9; }, {"phases.mlp", "0 or more"}},
      {[](json& row) { row["phases"]["mlp"].erase("bytes"); }, {"phases.mlp.bytes"}},
      {[](json& row) { row["method"] = "h2o"; }, {"method", "h2o", "of the request"}},
      {[](json& row) { row["batch"] = 0; }, {"batch", "1 or more"}},
      {[](json& row) { row.erase("cache_bytes"); }, {"cache_bytes"}},
  };
  for (const auto& [edit, parts] : cases) {
    write_synthetic_latency(run_, {});
    int64_t number = 0;
    edit_items(run_, [&, &change = edit](json& row) {
      if (++number == 3) change(row);
      return true;
    });
    const std::string error = read_error();
    EXPECT_THAT(error, HasSubstr("items.jsonl:3"));
    for (const std::string& part : parts) EXPECT_THAT(error, HasSubstr(part));
  }
}

TEST_F(LatencyTest, RecordsOfTwoKindsAreNotMixedUp) {
  write_synthetic_latency(run_, {});
  EXPECT_THAT(error_of([&] { compare(run_, run_); }), HasSubstr("an evaluation"));
  EXPECT_THAT(error_of([&] { write_report(folder_ / "none"); }), HasSubstr("a run folder"));
  write_text(run_ / "items.jsonl", "");
  EXPECT_THAT(error_of([&] { write_report(run_); }), HasSubstr("no lines"));
}

TEST(StackedBarChartTest, DrawsEverySegmentAndNamesWideOnes) {
  StackedBarChart chart;
  chart.title = "ledger <1>";
  chart.x_label = "ms";
  chart.kinds = {"embed", "mlp & more"};
  chart.bars = {{"full", "3 ms", {{0, 0.01, "tiny"}, {1, 3, "wide"}}},
                {"empty", "0", {{0, 0, ""}, {1, 0, ""}}}};
  const std::string svg = draw(chart);
  EXPECT_EQ(markup_error(svg), "");
  EXPECT_EQ(count_of(svg, "class=\"sg p0\""), 2u);  // the bar and the legend
  EXPECT_EQ(count_of(svg, "class=\"sl "), 1u);
  EXPECT_THAT(svg, HasSubstr("<title>tiny</title>"));
  EXPECT_THAT(svg, HasSubstr("mlp &amp; more"));
}

TEST(CurveChartTest, DrawsOnLogarithmicAxesUnderACeiling) {
  CurveChart chart;
  chart.title = "roofline";
  chart.log_y = true;
  chart.ceiling = {{0.1, 1e11}, {100, 1e14}, {1000, 1e14}};
  chart.ceiling_label = "1 TB/s";
  Curve curve{"full", reference_style(), {{2, 1e12, 1e12, 1e12, "mlp", "note"}}};
  curve.joined = false;
  chart.curves = {curve};
  const std::string svg = draw(chart);
  EXPECT_EQ(markup_error(svg), "");
  EXPECT_THAT(svg, AllOf(HasSubstr("1 TB/s"), HasSubstr(">mlp<"), Not(HasSubstr("nan"))));
  chart.ceiling.clear();
  chart.curves[0].joined = true;
  chart.powers_of_two = true;
  EXPECT_EQ(markup_error(draw(chart)), "");
}

}  // namespace
}  // namespace kvg::reports
