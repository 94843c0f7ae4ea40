#include "reports/report.h"

#include "reports/digest.h"
#include "reports/markup_test_util.h"
#include "reports/run_test_util.h"
#include "reports/summary.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <cmath>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg::reports {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

ReportOptions quick() {
  ReportOptions options;
  options.statistics.resamples = 500;
  return options;
}

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() : run_(folder_ / "run") {}

  void write(const SyntheticOptions& options) { write_synthetic_run(run_, options); }
  // Writes the report and checks the page's form, whatever it says.
  std::string page() {
    files_ = write_report(run_, quick());
    const std::string html = read_text(files_.html);
    EXPECT_EQ(markup_error(html), "");
    EXPECT_NO_THROW(json(html).dump()) << "not valid UTF-8";
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

TEST_F(ReportTest, WholePage) {
  write({});
  const std::string html = page();
  EXPECT_TRUE(files_.complete);
  for (const char* heading :
       {"Results", "Quality against bytes", "Floors and ceilings", "Perplexity", "Passkey",
        "Needle", "Memory", "Failures and generation", "Reproduction"}) {
    EXPECT_THAT(html, HasSubstr(std::string("<h2>") + heading + "</h2>"));
  }
  EXPECT_GE(count_of(html, "<svg"), 12u);
  EXPECT_EQ(count_of(html, "INCOMPLETE"), 0u);
  EXPECT_THAT(html, HasSubstr("kvgauge eval --suite synthetic"));
  EXPECT_THAT(html, HasSubstr("landmark + bank eden 4-bit"));
  // Questions and outputs of the synthetic items carry markup.
  EXPECT_THAT(html, AllOf(HasSubstr("Ingrid &lt;Maier&gt;"), Not(HasSubstr("<Maier>"))));
}

// Of four needles: stored and read, stored and not read, lost and guessed, lost.
TEST_F(ReportTest, WhereAnswersAreLost) {
  write(small_run());
  EXPECT_THAT(page(), Not(HasSubstr("Where answers are lost"))) << "nothing was probed";
  int seen = 0;
  edit_items(run_, [&](json& row) {
    if (row["method"] != "full" || row["task"] != "passkey" || row["condition"] != "context") {
      return true;
    }
    const int kind = seen++ % 4;
    row["retention"] = {
        {"value_tokens", 2},  {"layers", 2},        {"stored_share", {0.5, kind < 2 ? 1 : 0.25}},
        {"stored", kind < 2}, {"read_weight", 0.2}, {"read", kind == 0}};
    row["score"] = kind == 0 || kind == 2 ? 1 : 0;
    return true;
  });
  ASSERT_EQ(seen, 12);
  const std::string html = page();
  EXPECT_EQ(count_of(html, "Where answers are lost"), 1u);
  EXPECT_THAT(html, HasSubstr("6 of 12 [25.4, 74.6]"));  // stored; Wilson
  EXPECT_THAT(html, HasSubstr("3 of 6 ["));              // read, given stored; right, not stored
  EXPECT_EQ(count_of(html, "6 of 12 ["), 2u) << "whole, and in part";
  EXPECT_THAT(html, HasSubstr("3 of 3 ["));  // right, given read
  EXPECT_THAT(html, HasSubstr("0 of 3 ["));  // right, stored and not read
}

// Known answers: full right everywhere, window right in the first of every four contexts.
TEST_F(ReportTest, NumbersOfThePageAreThoseOfTheItems) {
  SyntheticOptions options = small_run();
  options.right = [](size_t method, double) { return method == 0 ? 1.0 : 0.0; };
  options.extra_nats = [](size_t method, int64_t) { return method == 0 ? 0 : 0.25; };
  write(options);
  // Passkey has 2 lengths * 3 depths * 2 = 12 items; three of window's become right, one fails.
  int seen = 0;
  double nll = 0, tokens = 0, bytes = 0;
  edit_items(run_, [&](json& row) {
    if (row["method"] == "full" && row["task"] == "perplexity") {
      nll += row["nll"].get<double>();
      tokens += row["tokens"].get<double>();
      bytes += row["text_bytes"].get<double>();
    }
    if (row["method"] != "window(window=252)" || row["task"] != "passkey") return true;
    if (seen < 3) row["score"] = 1;
    if (seen == 3) {
      row.erase("score");
      row["error"] = "<oom> & co";
    }
    ++seen;
    return true;
  });
  ASSERT_EQ(seen, 12);
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("25.0\u00A0% (1 failed)"));  // 3 of 12
  EXPECT_THAT(html, HasSubstr("[8.9, 53.2]"));             // Wilson of 3/12
  EXPECT_THAT(html, HasSubstr("\u221275.0"));              // points to full
  EXPECT_THAT(html, HasSubstr("&lt;oom&gt; &amp; co"));
  EXPECT_THAT(html, HasSubstr(fixed(nll / tokens, 3)));
  EXPECT_THAT(html, HasSubstr(fixed(nll / (std::log(2.0) * bytes), 3)));
  const auto run = read_run(run_);
  const Digest digest = make_digest(run, quick().statistics);
  const Measure& perplexity = digest.measures[0];
  ASSERT_TRUE(perplexity.contrasts[1]);
  // The synthetic method multiplies what it adds by a noise of 15 %.
  EXPECT_NEAR(perplexity.contrasts[1]->paired.difference, 0.25, 0.03);
  EXPECT_EQ(perplexity.contrasts[1]->verdict, Verdict::kWorse);
  const Measure& passkey = digest.measures[1];
  EXPECT_EQ(passkey.metrics[1]->failed, 1);
  EXPECT_EQ(passkey.contrasts[1]->paired.losses, 9);
  EXPECT_EQ(passkey.contrasts[1]->verdict, Verdict::kWorse);
  EXPECT_EQ(passkey.oracle->n, 12);
  EXPECT_EQ(passkey.closed_book->n, 12);
}

TEST_F(ReportTest, MarkdownAndCsvSayTheSame) {
  SyntheticOptions options = small_run();
  options.right = [](size_t method, double) { return method == 0 ? 1.0 : 0.0; };
  write(options);
  page();
  const std::string markdown = read_text(files_.markdown);
  EXPECT_THAT(markdown, AllOf(HasSubstr("## Results"), HasSubstr("## Floors and ceilings"),
                              HasSubstr("| full reference |"), HasSubstr("**worse**")));
  std::istringstream csv(read_text(files_.csv));
  std::string line;
  std::getline(csv, line);
  const auto commas = std::count(line.begin(), line.end(), ',');
  EXPECT_EQ(commas, 19);
  int rows = 0;
  bool found = false;
  while (std::getline(csv, line)) {
    ++rows;
    // Cells hold commas inside quotes.
    int64_t separators = 0;
    bool quoted = false;
    for (const char c : line) {
      if (c == '"') quoted = !quoted;
      separators += c == ',' && !quoted ? 1 : 0;
    }
    EXPECT_EQ(separators, commas) << line;
    found = found || (line.find("full,reference,context,passkey,all,accuracy,1,") != line.npos &&
                      line.find("Clopper-Pearson,12,12,0") != line.npos);
  }
  EXPECT_TRUE(found);
  // Per method: perplexity 1 cell; passkey and needle 6 each; "all" of each; closed-book and
  // oracle.
  EXPECT_EQ(rows, 3 * (1 + 6 + 6 + 3) + 2 * 2 * (6 + 1));
}

TEST_F(ReportTest, AnUnfinishedRunSaysSo) {
  write(small_run());
  edit_run(run_, [](json& record) { record["status"] = "interrupted"; });
  int left = 40;
  edit_items(run_, [&](json&) { return left-- > 0; });
  EXPECT_THAT(page(),
              AllOf(HasSubstr("<b>INCOMPLETE</b>"), HasSubstr("status interrupted, 40 of ")));
  EXPECT_FALSE(files_.complete);
  EXPECT_THAT(read_text(files_.markdown), HasSubstr("**INCOMPLETE**"));
}

TEST_F(ReportTest, EveryPrefixOfARunMakesAPage) {
  write(small_run());
  const std::string items = read_text(run_ / "items.jsonl");
  for (const size_t share : {1, 3, 10, 30, 60, 90}) {
    const size_t end = items.find('\n', items.size() * share / 100) + 1;
    write_text(run_ / "items.jsonl", items.substr(0, end));
    page();
  }
  write_text(run_ / "items.jsonl", "");
  EXPECT_THAT(error_of([&] { write_report(run_); }), HasSubstr("found no items"));
}

TEST_F(ReportTest, HostileTextsAreEscapedEverywhere) {
  write(small_run());
  const std::string attack = "</td></svg><script>alert(1)</script>\"'\xFF";
  edit_run(run_, [&](json& record) {
    record["request"]["model"]["name"] = "</title><script>x</script>";
    record["provenance"]["cpu"] = "</td><script>y</script>|";
    record["provenance"]["command"] = {"kvgauge", "</pre><script>z</script>"};
  });
  edit_items(run_, [&](json& row) {
    if (row.contains("output")) {
      row["output"] = valid_utf8(attack);
      row["question"] = valid_utf8(attack);
      row["strata"]["kind"] = row["index"] == 0 ? "<script>k</script>" : "plain";
      row["strata"]["overlap_bin"] = row["index"] == 0 ? ">.5" : "<b>";
    }
    return true;
  });
  page();
}

TEST_F(ReportTest, RunsWithOneTaskOrNoControlsMakeAPage) {
  SyntheticOptions options = small_run();
  options.controls = false;
  write(options);
  for (const char* task : {"perplexity", "needle"}) {
    write(options);
    edit_items(run_, [&](json& row) { return row["task"] == task; });
    edit_run(run_, [&](json& record) {
      json kept = json::array();
      for (const json& entry : record["request"]["tasks"]) {
        if (entry["task"] == task) kept.push_back(entry);
      }
      record["request"]["tasks"] = kept;
    });
    page();
  }
}

TEST_F(ReportTest, ATaskThatFullDoesNotSolveIsNamed) {
  SyntheticOptions options = small_run();
  options.right = [](size_t, double) { return 0.02; };
  write(options);
  EXPECT_THAT(page(), HasSubstr("On passkey the full cache itself"));
  options.right = [](size_t, double) { return 0.0; };
  write(options);
  // Nothing right everywhere is the same everywhere, but nothing was kept.
  EXPECT_THAT(page(), AllOf(HasSubstr("On passkey the full cache itself"),
                            Not(HasSubstr("kept on passkey"))));
  options.right = [](size_t, double) { return 0.98; };
  write(options);
  EXPECT_THAT(page(), Not(HasSubstr("On passkey the full cache itself")));
}

TEST_F(ReportTest, VariantsOfATaskAreMeasuresOfTheirOwn) {
  write(small_run());
  edit_items(run_, [](json& row) {
    if (row["task"] == "needle") {
      row["cell"]["profile"] = row["index"].get<int>() % 2 == 0 ? "messy" : "simple";
    }
    return true;
  });
  EXPECT_THAT(page(), AllOf(HasSubstr("<h2>Needle (messy)</h2>"), HasSubstr("needle (simple)")));
  const auto run = read_run(run_);
  const Digest digest = make_digest(run, quick().statistics);
  ASSERT_EQ(digest.measures.size(), 4u);
  EXPECT_EQ(digest.measures[2].title, "needle (messy)");
  // 2 lengths, 3 depths, indices 0 2 4 of 6.
  EXPECT_EQ(digest.measures[2].metrics[0]->n, 18);
  EXPECT_EQ(digest.measures[2].contrasts[1]->paired.pairs, 18);
  const auto groups = rows_of(digest.leading_measures());
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].size(), 2u);
  EXPECT_EQ(groups[1].size(), 2u);
}

TEST_F(ReportTest, AClaimedSizeThatItemsExceedIsRefused) {
  write(small_run());
  EXPECT_THAT(page(), Not(HasSubstr("its size is refused")));
  edit_run(run_, [](json& record) {
    for (json& size : record["methods"]["window(window=252)"]["bytes"]) size["total"] = 700000;
  });
  EXPECT_THAT(page(), HasSubstr("its size is refused"));
}

TEST_F(ReportTest, WritesElsewhereAndSaysWhenItCannot) {
  write(small_run());
  ReportOptions options = quick();
  options.output = folder_ / "elsewhere";
  EXPECT_EQ(write_report(run_, options).html, folder_ / "elsewhere" / "report.html");
  write_text(folder_ / "file", "");
  options.output = folder_ / "file";
  EXPECT_THAT(error_of([&] { write_report(run_, options); }), HasSubstr("expected a writable"));
}

TEST_F(ReportTest, TheSameRecordMakesTheSameBytes) {
  write(small_run());
  const std::string first = page();
  EXPECT_EQ(page(), first);
}

}  // namespace
}  // namespace kvg::reports
