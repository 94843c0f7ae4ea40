#include "evals/runner.h"

#include "base/error.h"
#include "base/random.h"
#include "base/sha256.h"
#include "evals/fakes.h"
#include "evals/run_folder.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace kvg {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

void write(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::vector<json> rows_of(const fs::path& folder) {
  std::vector<json> rows;
  std::ifstream file(folder / "items.jsonl");
  for (std::string line; std::getline(file, line);) rows.push_back(json::parse(line));
  return rows;
}

// The lines of a record without what may differ from run to run.
std::vector<std::string> timeless(const fs::path& folder) {
  std::vector<std::string> lines;
  for (json row : rows_of(folder)) {
    row.erase("seconds");
    lines.push_back(row.dump());
  }
  return lines;
}

class RunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("kvg_runner_" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
    options_.root = root_;
  }
  void TearDown() override { fs::remove_all(root_); }

  static Suite suite() {
    return parse_suite(R"(
model: fake
methods: [full, window(300)]
controls: [closed-book, oracle, window(50)]
tasks:
  perplexity: {data: generated, tokens: 700, context: 256}
  passkey: {lengths: "512,600", depths: 2, items: 2}
)",
                       "test.yaml");
  }

  fs::path root_;
  RunOptions options_;
  FakeSource source_;
};

// 3 methods: 3 streams and 8 passkeys each; the reference has 8 closed-book and 8 oracle passkeys
// more.
constexpr size_t kRows = 3 * (3 + 8) + 8 + 8;

TEST_F(RunnerTest, WritesACompleteRecord) {
  const RunOutcome outcome = run_suite(suite(), source_, options_);
  EXPECT_EQ(outcome.status, "complete");
  EXPECT_EQ(outcome.planned, static_cast<int64_t>(kRows));
  EXPECT_EQ(outcome.resumed, 0);
  EXPECT_EQ(outcome.failed, 0);
  EXPECT_EQ(outcome.folder, root_ / outcome.run_id.substr(0, 16));

  const std::vector<json> rows = rows_of(outcome.folder);
  ASSERT_EQ(rows.size(), kRows);
  std::set<std::string> keys;
  for (const json& row : rows) {
    EXPECT_TRUE(keys.insert(row.at("key").get<std::string>()).second) << "twice: " << row["key"];
    EXPECT_FALSE(row.contains("error"));
    EXPECT_GT(row.at("cache_bytes").at("total").get<int64_t>(), 0);
  }
  EXPECT_TRUE(keys.contains("full|context|passkey|length=512,depth=0.25|1"));
  EXPECT_TRUE(keys.contains("full|oracle|passkey|length=600,depth=0.75|0"));
  EXPECT_TRUE(keys.contains("window(50)|context|perplexity|protocol=stream,context=256|2"));

  const json run = json::parse(read(outcome.folder / "run.json"));
  EXPECT_EQ(run["status"], "complete");
  EXPECT_EQ(run["run_id"], sha256(run["request"].dump()));
  EXPECT_EQ(run["planned_items"], kRows);
  EXPECT_EQ(run["request"]["methods"][0], json({{"method", "full"}, {"role", "reference"}}));
  EXPECT_EQ(run["request"]["methods"][2], json({{"method", "window(50)"}, {"role", "control"}}));
  EXPECT_EQ(run["request"]["tasks"][1]["settings"]["lengths"], json({512, 600}));
  EXPECT_EQ(run["request"]["tasks"][0]["data"][0]["sha256"].get<std::string>().size(), 64U);
  EXPECT_EQ(run["methods"]["full"]["items"], 3 + 8 * 3);
  EXPECT_EQ(run["methods"]["window(300)"]["bytes"].size(), 3U) << "256, 512 and 600 tokens";
  EXPECT_GT(run["methods"]["full"]["prefill_tokens"], 8 * 500);
  EXPECT_TRUE(run["provenance"].contains("git_commit"));
}

TEST_F(RunnerTest, TheSameCommandGivesTheSameLines) {
  options_.folder = root_ / "a";
  const std::string first = run_suite(suite(), source_, options_).run_id;
  options_.folder = root_ / "b";
  EXPECT_EQ(run_suite(suite(), source_, options_).run_id, first);
  EXPECT_EQ(timeless(root_ / "a"), timeless(root_ / "b"));
  // Chunking is no part of the result.
  options_.folder = root_ / "c";
  options_.chunk = 33;
  EXPECT_EQ(run_suite(suite(), source_, options_).run_id, first);
  EXPECT_EQ(timeless(root_ / "a"), timeless(root_ / "c"));
}

TEST_F(RunnerTest, ResumesAfterAKillAtAnyByte) {
  options_.folder = root_ / "whole";
  run_suite(suite(), source_, options_);
  const std::string items = read(root_ / "whole" / "items.jsonl");
  const std::vector<std::string> expected = timeless(root_ / "whole");
  Random random(21);
  for (int trial = 0; trial < 25; ++trial) {
    const size_t cut = trial == 0 ? 0 : trial == 1 ? items.size() - 1 : random.below(items.size());
    const fs::path folder = root_ / ("cut" + std::to_string(trial));
    fs::create_directories(folder);
    fs::copy_file(root_ / "whole" / "run.json", folder / "run.json");
    write(folder / "items.jsonl", items.substr(0, cut));
    options_.folder = folder;
    const RunOutcome outcome = run_suite(suite(), source_, options_);
    EXPECT_EQ(outcome.resumed,
              std::count(items.begin(), items.begin() + static_cast<long>(cut), '\n'));
    EXPECT_EQ(timeless(folder), expected) << "cut at byte " << cut;
  }
}

TEST_F(RunnerTest, SurvivesARealKill) {
  options_.folder = root_ / "killed";
  const fs::path items = root_ / "killed" / "items.jsonl";
  const pid_t child = fork();
  if (child == 0) {
    // The child dies in the middle of its eighth item.
    int predictions = 0;
    const FakeSource dying([&](std::span<const int32_t> seen) {
      if (++predictions > 1500) _exit(9);
      return copy_from_context(seen);
    });
    run_suite(suite(), dying, options_);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), 9);
  const size_t before = rows_of(root_ / "killed").size();
  EXPECT_GT(before, 0U);
  EXPECT_LT(before, kRows);
  EXPECT_EQ(json::parse(read(root_ / "killed" / "run.json"))["status"], "running");
  const RunOutcome outcome = run_suite(suite(), source_, options_);
  EXPECT_EQ(outcome.resumed, static_cast<int64_t>(before));
  options_.folder = root_ / "whole";
  run_suite(suite(), source_, options_);
  EXPECT_EQ(timeless(root_ / "killed"), timeless(root_ / "whole"));
}

TEST_F(RunnerTest, AFinishedRunNeedsNoModel) {
  run_suite(suite(), source_, options_);
  const int before = source_.subjects;
  EXPECT_EQ(before, 3);
  const RunOutcome again = run_suite(suite(), source_, options_);
  EXPECT_EQ(source_.subjects, before);
  EXPECT_EQ(again.resumed, again.planned);
  EXPECT_EQ(again.status, "complete");
}

TEST_F(RunnerTest, AHigherLimitGoesOnInTheSameFolder) {
  Suite limited = suite();
  limited.limit = 1;
  const RunOutcome first = run_suite(limited, source_, options_);
  EXPECT_EQ(first.planned, 3 * (1 + 4) + 4 + 4);
  const RunOutcome second = run_suite(suite(), source_, options_);
  EXPECT_EQ(second.run_id, first.run_id);
  EXPECT_EQ(second.resumed, first.planned);
  std::vector<std::string> resumed = timeless(second.folder);
  options_.folder = root_ / "whole";
  run_suite(suite(), source_, options_);
  std::vector<std::string> whole = timeless(root_ / "whole");
  std::ranges::sort(resumed);
  std::ranges::sort(whole);
  EXPECT_EQ(resumed, whole) << "the same items, in another order";
}

TEST_F(RunnerTest, SamplesPickIndices) {
  options_.samples = {1};
  const RunOutcome outcome = run_suite(suite(), source_, options_);
  EXPECT_EQ(outcome.planned, 3 * (1 + 4) + 4 + 4);
  for (const json& row : rows_of(outcome.folder)) EXPECT_EQ(row["index"], 1);
}

TEST_F(RunnerTest, InterruptLeavesAValidRecord) {
  std::atomic<bool> stop = false;
  int predictions = 0;
  const FakeSource stopping([&](std::span<const int32_t> seen) {
    if (++predictions == 1200) stop = true;
    return copy_from_context(seen);
  });
  options_.folder = root_ / "stopped";
  options_.stop = &stop;
  options_.chunk = 64;
  EXPECT_THROW(run_suite(suite(), stopping, options_), Interrupted);
  EXPECT_EQ(json::parse(read(root_ / "stopped" / "run.json"))["status"], "interrupted");
  const size_t before = rows_of(root_ / "stopped").size();
  EXPECT_LT(before, kRows);
  stop = false;
  const RunOutcome outcome = run_suite(suite(), source_, options_);
  EXPECT_EQ(outcome.resumed, static_cast<int64_t>(before));
  EXPECT_EQ(rows_of(root_ / "stopped").size(), kRows);
}

TEST_F(RunnerTest, AMethodThatCannotStartIsRecordedAndTheRunGoesOn) {
  Suite broken = suite();
  broken.methods = {"full", "broken", "window(300)"};
  const RunOutcome outcome = run_suite(broken, source_, options_);
  EXPECT_EQ(outcome.status, "failed");
  const json run = json::parse(read(outcome.folder / "run.json"));
  EXPECT_EQ(run["methods"]["broken"]["status"], "failed");
  EXPECT_THAT(run["methods"]["broken"]["error"].get<std::string>(),
              testing::HasSubstr("a fake fault"));
  EXPECT_EQ(run["methods"]["window(300)"]["status"], "complete");
  EXPECT_EQ(rows_of(outcome.folder).size(), kRows);
}

TEST_F(RunnerTest, FailedItemsAreRows) {
  int predictions = 0;
  const FakeSource failing([&](std::span<const int32_t> seen) -> int32_t {
    ++predictions;
    if (predictions == 300) throw Error("model", "memory", "a fake fault", "none");
    if (predictions == 600) throw std::bad_alloc();
    return copy_from_context(seen);
  });
  const RunOutcome outcome = run_suite(suite(), failing, options_);
  EXPECT_EQ(outcome.failed, 2);
  EXPECT_EQ(outcome.status, "complete");
  int errors = 0;
  for (const json& row : rows_of(outcome.folder)) {
    errors += row.contains("error") ? 1 : 0;
    EXPECT_NE(row.contains("error"), row.contains("n_prompt"));
  }
  EXPECT_EQ(errors, 2);
}

TEST_F(RunnerTest, NoSecondProcessOnOneFolder) {
  options_.folder = root_ / "shared";
  const RunFolder holder(root_ / "shared");
  try {
    run_suite(suite(), source_, options_);
    FAIL() << "two runs on one folder";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("held by another process"));
  }
}

TEST_F(RunnerTest, AFullDiskIsOneLineAndNoHalfLine) {
  options_.folder = root_ / "full";
  fs::create_directories(root_ / "full");
  fs::create_symlink("/dev/full", root_ / "full" / "items.jsonl");
  try {
    run_suite(suite(), source_, options_);
    FAIL() << "wrote to a full disk";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("items.jsonl"));
    EXPECT_THAT(error.what(), testing::HasSubstr("No space left"));
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
  }
  EXPECT_EQ(json::parse(read(root_ / "full" / "run.json"))["status"], "failed");
}

TEST_F(RunnerTest, UnusableFoldersAreErrors) {
  write(root_ / "file", "x");
  options_.folder = root_ / "file" / "run";
  EXPECT_THROW(run_suite(suite(), source_, options_), Error);

  options_.folder = root_ / "foreign";
  fs::create_directories(root_ / "foreign");
  write(root_ / "foreign" / "run.json", "{\"run_id\": \"abc\"}");
  EXPECT_THROW(run_suite(suite(), source_, options_), Error) << "another run lives here";
  write(root_ / "foreign" / "run.json", "not json");
  EXPECT_THROW(run_suite(suite(), source_, options_), Error);

  options_.folder = root_ / "damaged";
  fs::create_directories(root_ / "damaged");
  write(root_ / "damaged" / "items.jsonl", "{\"key\": 3}\n");
  try {
    run_suite(suite(), source_, options_);
    FAIL() << "read a damaged line";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("items.jsonl:1"));
  }
}

TEST_F(RunnerTest, WhatIsWrongWithASuiteIsSaidBeforeAnythingRuns) {
  Suite twice = suite();
  twice.methods = {"full", "full"};
  EXPECT_THROW(run_suite(twice, source_, options_), Error);
  Suite unknown = suite();
  unknown.methods = {"fulll"};
  EXPECT_THROW(run_suite(unknown, source_, options_), Error);
  Suite too_long = suite();
  const SuiteOverride change = {"passkey.lengths", "64k", "--passkey.lengths"};
  apply_overrides(&too_long, {&change, 1});
  EXPECT_THROW(run_suite(too_long, source_, options_), Error);
  EXPECT_TRUE(fs::is_empty(root_));
  EXPECT_EQ(source_.subjects, 0);
}

TEST(RunFolder, CutsATornLineAndKeepsTheRest) {
  const fs::path folder = fs::temp_directory_path() / ("kvg_folder_" + std::to_string(getpid()));
  fs::remove_all(folder);
  {
    RunFolder run(folder);
    run.append("one");
    run.append("two");
    run.write_run("{}");
    EXPECT_EQ(run.read_run(), "{}");
  }
  std::ofstream(folder / "items.jsonl", std::ios::app) << "{\"torn";
  {
    RunFolder run(folder);
    EXPECT_THAT(run.lines(), testing::ElementsAre("one", "two"));
    run.append("three");
  }
  EXPECT_EQ(read(folder / "items.jsonl"), "one\ntwo\nthree\n");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace kvg
