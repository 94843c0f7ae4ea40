#include "reports/compare.h"

#include "reports/run_test_util.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg::reports {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Enough items for verdicts, all of the probability `full`, `other` for the methods after it.
SyntheticOptions run_of(uint64_t outcome_seed, double full, double other) {
  SyntheticOptions options = small_run();
  options.outcome_seed = outcome_seed;
  options.contexts_per_cell = 10;
  options.passkeys_per_cell = 20;
  options.streams = 12;
  options.controls = false;
  options.right = [full, other](size_t method, double) { return method == 0 ? full : other; };
  options.extra_nats = [](size_t, int64_t) { return 0.0; };
  return options;
}

class CompareTest : public ::testing::Test {
 protected:
  CompareTest() : a_(folder_ / "a"), b_(folder_ / "b") { options_.statistics.resamples = 1000; }

  int run_compare() {
    out_.str("");
    return compare_runs(a_, b_, options_, out_);
  }

  TemporaryFolder folder_;
  std::filesystem::path a_, b_;
  CompareOptions options_;
  std::ostringstream out_;
};

TEST_F(CompareTest, ARunIsTheSameAsItself) {
  write_synthetic_run(a_, run_of(1, 0.9, 0.5));
  write_synthetic_run(b_, run_of(1, 0.9, 0.5));
  EXPECT_EQ(run_compare(), kSameOrBetter);
  const ComparedRuns runs = compare(a_, b_, options_);
  EXPECT_EQ(runs.comparisons.size(), 9u);  // 3 methods, 3 measures
  EXPECT_THAT(runs.differences, IsEmpty());
  EXPECT_THAT(runs.unmatched, IsEmpty());
  for (const Comparison& comparison : runs.comparisons) {
    EXPECT_TRUE(comparison.paired.identical);
    EXPECT_EQ(comparison.verdict, Verdict::kSame);
  }
}

TEST_F(CompareTest, WorseBetterAndInconclusiveHaveTheirCodes) {
  write_synthetic_run(a_, run_of(1, 0.9, 0.8));
  write_synthetic_run(b_, run_of(2, 0.6, 0.8));
  EXPECT_EQ(run_compare(), kWorse);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("WORSE"), HasSubstr("needle"), HasSubstr("Holm")));
  // The other way round full is better, and the window may go either way.
  std::swap(a_, b_);
  options_.method_a = options_.method_b = "full";
  EXPECT_EQ(run_compare(), kSameOrBetter);
  EXPECT_THAT(out_.str(), HasSubstr("BETTER"));
  // The same probability, other answers: too few items for a margin of one point.
  write_synthetic_run(a_, run_of(5, 0.9, 0.8));
  write_synthetic_run(b_, run_of(6, 0.9, 0.8));
  EXPECT_EQ(run_compare(), kInconclusive);
  options_.statistics.accuracy_margin = 0.5;
  EXPECT_EQ(run_compare(), kSameOrBetter);
}

TEST_F(CompareTest, NatsAreJudgedByTheirOwnMargin) {
  SyntheticOptions options = run_of(1, 0.9, 0.9);
  write_synthetic_run(a_, options);
  options.extra_nats = [](size_t method, int64_t) { return method == 0 ? 0.05 : 0.005; };
  write_synthetic_run(b_, options);
  const ComparedRuns runs = compare(a_, b_, options_);
  for (const Comparison& comparison : runs.comparisons) {
    if (!comparison.likelihood) continue;
    const bool full = comparison.method_a == "full";
    EXPECT_NEAR(comparison.paired.difference, full ? 0.05 : 0.005, full ? 0.005 : 0.0005);
    EXPECT_EQ(comparison.verdict, full ? Verdict::kWorse : Verdict::kSame);
  }
  EXPECT_EQ(runs.result, kWorse);
  options_.statistics.nll_margin = 0.03;
  EXPECT_EQ(run_compare(), kSameOrBetter);
}

TEST_F(CompareTest, TwoMethodsOfOneRun) {
  write_synthetic_run(a_, run_of(1, 0.95, 0.4));
  b_ = a_;
  options_.method_a = "full";
  options_.method_b = "window";
  EXPECT_EQ(run_compare(), kWorse);
  EXPECT_THAT(out_.str(), HasSubstr("full -> window"));
  std::swap(options_.method_a, options_.method_b);
  EXPECT_EQ(run_compare(), kSameOrBetter);
  options_.method_b = "windo";
  EXPECT_THAT(error_of([&] { run_compare(); }), HasSubstr("found windo, expected one of full"));
  options_.method_b = "";
  EXPECT_THAT(error_of([&] { run_compare(); }), HasSubstr("method-b"));
}

TEST_F(CompareTest, OtherModelsDataItemsAreNotComparable) {
  const auto changed = [&](const std::function<void(json&)>& edit) {
    write_synthetic_run(a_, small_run());
    write_synthetic_run(b_, small_run());
    edit_run(b_, edit);
    return run_compare();
  };
  EXPECT_EQ(changed([](json& r) { r["request"]["model"]["hash"] = "other"; }), kNotComparable);
  EXPECT_THAT(out_.str(), HasSubstr("different models"));
  options_.across_models = true;
  EXPECT_EQ(changed([](json& r) { r["request"]["model"]["hash"] = "other"; }), kSameOrBetter);
  EXPECT_EQ(changed([](json& r) { r["request"]["model"]["tokenizer_hash"] = "x"; }),
            kNotComparable);
  EXPECT_EQ(changed([](json& r) { r["request"]["tasks"][1]["version"] = 2; }), kNotComparable);
  EXPECT_EQ(changed([](json& r) { r["request"]["tasks"][2]["data"][0]["sha256"] = "x"; }),
            kNotComparable);
  EXPECT_THAT(out_.str(), HasSubstr("needle: different data"));

  write_synthetic_run(b_, small_run());
  edit_items(b_, [](json& row) {
    if (row["task"] == "needle") row["expected"] = "another question";
    return true;
  });
  EXPECT_EQ(run_compare(), kNotComparable);
  EXPECT_THAT(out_.str(), HasSubstr("different items at the same place"));
  SyntheticOptions other = small_run();
  other.seed = 99;
  write_synthetic_run(b_, other);
  EXPECT_EQ(run_compare(), kNotComparable);
}

TEST_F(CompareTest, ListsWhatHasNoPartner) {
  write_synthetic_run(a_, small_run());
  SyntheticOptions other = small_run();
  other.methods[1] = "sinks(sinks=4,window=248)";
  write_synthetic_run(b_, other);
  int left = 5;
  edit_items(b_, [&](json& row) {
    return row["task"] != "needle" || row["method"] != "full" || left-- <= 0;
  });
  const ComparedRuns runs = compare(a_, b_, options_);
  EXPECT_THAT(runs.unmatched, AllOf(Contains("method only in A: window(window=252)"),
                                    Contains("method only in B: sinks(sinks=4,window=248)"),
                                    Contains(HasSubstr("5 items only in A, 0 only in B"))));
  EXPECT_THAT(runs.notes, Contains(HasSubstr("B is INCOMPLETE")));
  EXPECT_EQ(runs.result, kSameOrBetter);
  options_.strict = true;
  EXPECT_EQ(run_compare(), kNotComparable);
  // Nothing in common at all.
  options_.strict = false;
  edit_items(b_, [](json& row) { return row["method"] == "sinks(sinks=4,window=248)"; });
  EXPECT_EQ(run_compare(), kNotComparable);
}

TEST_F(CompareTest, DuplicatedRowsAndOtherEnvironmentsAreListed) {
  write_synthetic_run(a_, small_run());
  write_synthetic_run(b_, small_run());
  const std::string items = read_text(b_ / "items.jsonl");
  write_text(b_ / "items.jsonl", items + items.substr(0, items.find('\n') + 1));
  edit_run(b_, [](json& record) { record["provenance"]["cpu"] = "Another CPU"; });
  const ComparedRuns runs = compare(a_, b_, options_);
  EXPECT_THAT(runs.notes, Contains(HasSubstr("repeat a key")));
  EXPECT_THAT(runs.differences, Contains("cpu: Example CPU and Another CPU"));
  EXPECT_EQ(runs.result, kSameOrBetter);
  options_.strict = true;
  EXPECT_EQ(run_compare(), kNotComparable);
}

TEST_F(CompareTest, FailuresCountAsWrong) {
  write_synthetic_run(a_, run_of(1, 1, 1));
  write_synthetic_run(b_, run_of(1, 1, 1));
  edit_items(b_, [](json& row) {
    if (row["method"] == "full" && row["task"] == "passkey" && row["index"].get<int>() % 2 == 0) {
      row.erase("score");
      row["error"] = "timeout";
    }
    return true;
  });
  const ComparedRuns runs = compare(a_, b_, options_);
  EXPECT_EQ(runs.result, kWorse);
  for (const Comparison& comparison : runs.comparisons) {
    if (comparison.measure != "passkey" || comparison.method_a != "full") continue;
    EXPECT_EQ(comparison.failed_b, 60);
    EXPECT_EQ(comparison.paired.losses, 60);
  }
}

TEST_F(CompareTest, JsonAndMarkdownCarryTheResult) {
  write_synthetic_run(a_, run_of(1, 0.9, 0.8));
  write_synthetic_run(b_, run_of(2, 0.6, 0.8));
  options_.json = folder_ / "c.json";
  options_.markdown = folder_ / "c.md";
  EXPECT_EQ(run_compare(), kWorse);
  const json document = json::parse(read_text(folder_ / "c.json"));
  EXPECT_EQ(document["exit_code"], 1);
  EXPECT_EQ(document["comparisons"].size(), 9u);
  EXPECT_THAT(read_text(folder_ / "c.md"),
              AllOf(HasSubstr("# Comparison: WORSE"), HasSubstr("| needle | full |")));
  options_.json = folder_ / "none" / "c.json";
  EXPECT_THAT(error_of([&] { run_compare(); }), HasSubstr("c.json"));
}

// Runs that differ by chance alone must not be called different: of 20 A/A pairs at most 5 % of the
// verdicts may be BETTER or WORSE.
TEST_F(CompareTest, AATestRarelySeesADifference) {
  int verdicts = 0, false_alarms = 0;
  for (uint64_t round = 0; round < 20; ++round) {
    SyntheticOptions options = run_of(2 * round + 1, 0.9, 0.5);
    options.noise_nats = 2;
    write_synthetic_run(a_, options);
    options.outcome_seed = 2 * round + 2;
    write_synthetic_run(b_, options);
    for (const Comparison& comparison : compare(a_, b_, options_).comparisons) {
      ++verdicts;
      EXPECT_FALSE(comparison.paired.identical);
      false_alarms +=
          comparison.verdict == Verdict::kBetter || comparison.verdict == Verdict::kWorse;
    }
  }
  EXPECT_EQ(verdicts, 20 * 9);
  EXPECT_LE(false_alarms, verdicts / 20) << false_alarms;
}

}  // namespace
}  // namespace kvg::reports
