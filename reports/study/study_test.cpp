#include "reports/study/study.h"

#include "base/random.h"
#include "reports/line_reader.h"
#include "reports/markup_test_util.h"
#include "reports/run_test_util.h"
#include "reports/study/effect.h"
#include "reports/study/study_report.h"
#include "reports/study/study_tables.h"
#include "reports/synthetic_study.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>

namespace kvg::reports {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

SyntheticStudy small_study() {
  SyntheticStudy study;
  study.run = small_run();
  study.run.noise_nats = 0.02;
  return study;
}

StatisticsOptions quick() {
  StatisticsOptions options;
  options.resamples = 1000;
  return options;
}

class StudyTest : public ::testing::Test {
 protected:
  StudyTest() { write_synthetic_study(folder_.path(), options_); }

  Study read() const { return read_study(folder_.path(), quick()); }
  std::string error() const {
    return error_of([&] { read(); });
  }
  std::filesystem::path run(const std::string& name) const { return folder_ / "runs" / name; }
  void replace(const std::string& from, const std::string& to) const {
    std::string text = read_text(folder_ / "study.yaml");
    const size_t at = text.find(from);
    ASSERT_NE(at, text.npos);
    write_text(folder_ / "study.yaml", text.replace(at, from.size(), to));
  }

  SyntheticStudy options_ = small_study();
  TemporaryFolder folder_;
};

SeededEffect effect_of(const Study& study, const Quantity& quantity, size_t contrast) {
  return seeded_effect(quantity, factorial_contrasts(*study.factorial)[contrast], study.options);
}

// Synthetic text adds a fifth of the planted nats before position 256, of 1024 tokens.
double planted(double nats) { return nats * (0.2 * 256 + 768) / 1024; }

TEST_F(StudyTest, RecoversPlantedEffectsOnNats) {
  const Study study = read();
  const Quantity nats = likelihoods(study).at(0);
  const auto& n = options_.nats;
  const std::vector<double> expected = {
      n[0][1] - n[0][0],
      n[1][1] - n[1][0],
      n[1][1] - n[1][0] - n[0][1] + n[0][0],
      (n[1][1] + n[0][1] - n[1][0] - n[0][0]) / 2,
      (n[1][1] + n[1][0] - n[0][1] - n[0][0]) / 2,
      n[1][0] - n[0][0],
      n[1][1] - n[0][1],
  };
  for (size_t c = 0; c < expected.size(); ++c) {
    const SeededEffect effect = effect_of(study, nats, c);
    ASSERT_TRUE(effect.mean && effect.mean->interval) << effect.name;
    EXPECT_NEAR(effect.mean->value, planted(expected[c]), 0.02) << effect.name;
    EXPECT_LT(effect.mean->interval->low, planted(expected[c])) << effect.name;
    EXPECT_GT(effect.mean->interval->high, planted(expected[c])) << effect.name;
    EXPECT_EQ(effect.seeds.size(), 3u);
    // The mean over seeds is the mean of the seeds.
    double sum = 0;
    for (const auto& [seed, one] : effect.seeds) sum += one.value;
    EXPECT_NEAR(effect.mean->value, sum / 3, 1e-12) << effect.name;
  }
  EXPECT_LT(effect_of(study, nats, 2).mean->p, 0.01);
}

TEST(StudySeeds, AreKeptApartFromItems) {
  TemporaryFolder folder;
  SyntheticStudy options = small_study();
  options.seed_nats = 0.15;
  write_synthetic_study(folder.path(), options);
  const Study study = read_study(folder.path(), quick());
  const SeededEffect interaction = effect_of(study, likelihoods(study).at(0), 2);
  // -1, 0 and 1 times the planted number have it as their standard deviation.
  EXPECT_NEAR(*interaction.deviation, planted(options.seed_nats), 0.03);
  // These three models lose less for certain; three more need not.
  EXPECT_LT(interaction.mean->interval->high, 0);
  EXPECT_GT(interaction.seed_interval->high, 0);
  EXPECT_LT(interaction.seed_interval->low, interaction.mean->interval->low);
}

TEST_F(StudyTest, PairingRemovesWhatTheTextAdds) {
  const Study study = read();
  const Quantity nats = likelihoods(study).at(0);
  const SeededEffect level = seeded_effect(nats, mean_of(study.arms[0]), study.options);
  const SeededEffect penalty = effect_of(study, nats, 0);
  const auto width = [](const SeededEffect& e) {
    return e.mean->interval->high - e.mean->interval->low;
  };
  EXPECT_LT(width(penalty), width(level) / 3);
}

TEST_F(StudyTest, RecoversTheChainFromEvidenceToAnswer) {
  const Study study = read();
  std::vector<std::vector<Quantity>> chains = retentions(study);
  ASSERT_EQ(chains.size(), 2u);  // passkey and needle
  const Quantity stored = chains[1][0], read_stored = chains[1][1], right_read = chains[1][2];
  const auto mean = [&](const Quantity& quantity, const char* arm) {
    return seeded_effect(quantity, mean_of(*study.find_arm(arm)), study.options);
  };
  EXPECT_EQ(mean(stored, "gqa").mean->value, 1);
  for (size_t d = 0; d < 2; ++d) {
    const char* arm = d == 0 ? "gqa-bounded" : "coda-bounded";
    EXPECT_NEAR(mean(stored, arm).mean->value, options_.stored[d], 0.12);
    EXPECT_NEAR(mean(read_stored, arm).mean->value, options_.read[d], 0.15);
    EXPECT_NEAR(mean(right_read, arm).mean->value, 0.95, 0.07);
    const Effect lost = *mean(chains[1][3], arm).mean;
    EXPECT_LT(lost.value, 0.2);
    EXPECT_NEAR(lost.sum / lost.weight, lost.value, 0.05);
  }
  // Evidence that is always stored leaves nothing to condition on.
  EXPECT_FALSE(mean(chains[1][3], "gqa").mean);
  EXPECT_FALSE(effect_of(study, chains[1][3], 2).mean);
  const SeededEffect gain = effect_of(study, read_stored, 6);
  ASSERT_TRUE(gain.mean);
  EXPECT_LT(gain.mean->interval->low, options_.read[1] - options_.read[0]);
  EXPECT_GT(gain.mean->interval->high, options_.read[1] - options_.read[0]);
  EXPECT_GT(gain.mean->interval->low, 0);
}

TEST_F(StudyTest, ControlsPairWithTheSeedsThatBothHave) {
  const Study study = read();
  const std::vector<ArmContrast> contrasts = control_contrasts(study);
  ASSERT_EQ(contrasts.size(), 1u);
  const auto effects = family(likelihoods(study).at(0), contrasts, study.options);
  ASSERT_EQ(effects.size(), 1u);
  EXPECT_EQ(effects[0].seeds.size(), 1u);
  EXPECT_FALSE(effects[0].deviation);
  const double first_seed = options_.nats[1][1] - options_.seed_nats;
  EXPECT_NEAR(effects[0].mean->value, planted(options_.control_nats - first_seed), 0.04);
}

TEST_F(StudyTest, AnswersOfOneSeedHaveTheIntervalsOfARun) {
  const Study study = read();
  const Quantity passkey = scores(study).at(0);
  ASSERT_EQ(passkey.title, "passkey");
  const ArmRun& run = study.find_arm("coda-bounded")->seeds[0];
  const ItemRefs items = run.items(*passkey.measure);
  const auto effect = estimate(passkey, {{items, 1}}, study.options);
  const auto metric = accuracy(items, study.options);
  EXPECT_EQ(effect->value, metric->value);
  EXPECT_NEAR(effect->interval->low, metric->interval->low, 1e-12);
  EXPECT_NEAR(effect->interval->high, metric->interval->high, 1e-12);
}

TEST_F(StudyTest, QuestionsWithoutAnAnswerStandApart) {
  const Study study = read();
  std::vector<std::string> titles;
  for (const Quantity& quantity : scores(study)) titles.push_back(quantity.title);
  EXPECT_THAT(titles, ElementsAre("passkey", "needle", "needle, no answer in the text"));
  const ArmRun& run = study.arms[0].seeds[0];
  const auto count = [&](const Quantity& quantity) {
    return estimate(quantity, {{run.items(*quantity.measure), 1}}, study.options)->items;
  };
  const auto all = scores(study);
  EXPECT_EQ(count(all[1]) + count(all[2]), static_cast<int64_t>(run.items(*all[1].measure).size()));
}

TEST_F(StudyTest, FailedItemsAreWrongAnswersAndLeftOutOfNats) {
  edit_items(run("coda-bounded-s0"), [](json& row) {
    if (row["method"] == "full" || row["index"] != 0) return true;
    for (const char* key : {"score", "strata", "retention", "gold_nll", "nll", "blocks"}) {
      row.erase(key);
    }
    row["error"] = "out of memory";
    return true;
  });
  const Study study = read();
  const SeededEffect nats = effect_of(study, likelihoods(study).at(0), 2);
  EXPECT_EQ(nats.seeds[0].second.left_out, 1);
  EXPECT_EQ(nats.seeds[1].second.left_out, 0);
  const ArmRun& failing = study.find_arm("coda-bounded")->seeds[0];
  const Quantity passkey = scores(study).at(0);
  const auto effect = estimate(passkey, {{failing.items(*passkey.measure), 1}}, study.options);
  EXPECT_EQ(effect->items, 12);
  EXPECT_LE(effect->value, 0.5);  // 6 of 12 failed
}

TEST_F(StudyTest, OrderOfItemsChangesNothing) {
  StudyOptions options;
  options.statistics = quick();
  options.output = folder_ / "first";
  const StudyFiles first = write_study(folder_.path(), options);
  Random random(3);
  for (const char* name : {"gqa-s0", "coda-bounded-s1", "coda-bounded-lambda0-s0"}) {
    std::vector<std::string> lines;
    LineReader reader(run(name) / "items.jsonl");
    for (std::string line; reader.next(&line);) lines.push_back(line + "\n");
    for (size_t i = lines.size(); i > 1; --i) std::swap(lines[i - 1], lines[random.below(i)]);
    std::string text;
    for (const std::string& line : lines) text += line;
    write_gzip(run(name) / "items.jsonl.gz", text);
    std::filesystem::remove(run(name) / "items.jsonl");
  }
  options.output = folder_ / "second";
  const StudyFiles second = write_study(folder_.path(), options);
  ASSERT_EQ(first.files.size(), second.files.size());
  for (size_t i = 0; i < first.files.size(); ++i) {
    EXPECT_TRUE(read_text(first.files[i]) == read_text(second.files[i])) << first.files[i];
  }
}

TEST_F(StudyTest, PageIsWellFormedAndSaysWhatMustBeSaid) {
  StudyOptions options;
  options.statistics = quick();
  const StudyFiles files = write_study(folder_.path(), options);
  const std::string html = read_text(folder_ / "index.html");
  EXPECT_EQ(markup_error(html), "");
  EXPECT_LT(html.find("Rules of interpretation"), html.find("The arms"));
  EXPECT_EQ(html.find("<script"), html.npos);
  EXPECT_THAT(html, HasSubstr("gate of coda-bounded, seed 0, did not move"));
  EXPECT_THAT(html, Not(HasSubstr("gate of coda-bounded, seed 1, did not move")));
  EXPECT_THAT(html, HasSubstr("lambda of coda-bounded-lambda0, seed 0, did not move"));
  const std::string markdown = read_text(folder_ / "report.md");
  EXPECT_THAT(markdown, AllOf(HasSubstr("## The 2\u00D72: differential and bounded"),
                              HasSubstr("## Controls"), HasSubstr("P(read \\| stored)")));
  EXPECT_THAT(files.summary, HasSubstr("both exclude 0"));
  const std::string effects = read_text(folder_ / "effects.csv");
  EXPECT_THAT(effects, HasSubstr("\nperplexity,all,nats per token,interaction,mean,-0.1"));
}

TEST_F(StudyTest, WhatDoesNotPairIsRefused) {
  const auto saved = read_text(run("coda-s1") / "items.jsonl");
  const auto saved_run = read_text(run("coda-s1") / "run.json");
  const auto restore = [&] {
    write_text(run("coda-s1") / "items.jsonl", saved);
    write_text(run("coda-s1") / "run.json", saved_run);
  };
  edit_items(run("coda-s1"), [](json& row) {
    return row["task"] != "passkey" || row["method"] != "full" || row["index"] != 1;
  });
  EXPECT_THAT(error(), AllOf(HasSubstr("coda-s1"), HasSubstr("passkey"), HasSubstr("do not pair")));
  restore();
  edit_items(run("coda-s1"), [](json& row) {
    if (row["task"] == "needle" && row["index"] == 2) row["expected"] = "another";
    return true;
  });
  EXPECT_THAT(error(), AllOf(HasSubstr("needle"), HasSubstr("do not pair")));
  restore();
  const auto refused = [&](const std::function<void(json&)>& edit) {
    edit_run(run("coda-s1"), [&](json& record) { edit(record["request"]); });
    const std::string message = error();
    restore();
    return message;
  };
  EXPECT_THAT(refused([](json& r) { r["model"]["tokenizer_hash"] = "other"; }),
              AllOf(HasSubstr("coda-s1"), HasSubstr("tokenizer")));
  EXPECT_THAT(refused([](json& r) { r["seed"] = 9; }), HasSubstr("seed: found 9"));
  EXPECT_THAT(refused([](json& r) { r["tasks"][2]["version"] = 7; }), HasSubstr("version 7"));
  EXPECT_THAT(refused([](json& r) { r["tasks"][2]["data"][0]["sha256"] = "x"; }),
              HasSubstr("other data"));
  edit_run(run("coda-s1"), [](json& record) { record["request"]["build"] = "ffff"; });
  EXPECT_THAT(read().notes, ::testing::Contains(HasSubstr("another build (ffff)")));
}

TEST_F(StudyTest, MistakesOfTheFileAreErrorsOfOneLine) {
  const std::string saved = read_text(folder_ / "study.yaml");
  const auto with = [&](const std::string& from, const std::string& to) {
    replace(from, to);
    const std::string message = error();
    write_text(folder_ / "study.yaml", saved);
    return message;
  };
  EXPECT_THAT(with("run: runs/gqa-s1", "run: runs/none"), HasSubstr("runs/none"));
  EXPECT_THAT(with("method: landmark", "method: windov(8)"), HasSubstr("windov(8)"));
  EXPECT_THAT(with("training/gqa-s1.json", "training/none.json"), HasSubstr("none.json"));
  EXPECT_THAT(with("training/gqa-s1.json", "training/gqa-s0.json"),
              AllOf(HasSubstr("seed: found 0"), HasSubstr("expected 1")));
  write_text(folder_ / "study.yaml", saved.substr(0, saved.find("  - {name: coda,")));
  EXPECT_THAT(error(), HasSubstr("no arm of the factorial with differential on and bounded off"));
}

}  // namespace
}  // namespace kvg::reports
