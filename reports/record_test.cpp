#include "reports/record.h"

#include "base/random.h"
#include "base/sha256.h"
#include "reports/run_test_util.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg::reports {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

class RecordTest : public ::testing::Test {
 protected:
  RecordTest() : run_(folder_ / "run") { write_synthetic_run(run_, small_run()); }

  TemporaryFolder folder_;
  std::filesystem::path run_;
};

TEST_F(RecordTest, ReadsWhatWasWritten) {
  const auto run = read_run(run_);
  EXPECT_TRUE(run.complete());
  EXPECT_THAT(run.notes, ::testing::IsEmpty());
  EXPECT_EQ(run.reference().method, "full");
  EXPECT_EQ(run.methods.size(), 3u);
  EXPECT_EQ(run.tasks.size(), 3u);
  EXPECT_EQ(run.command, (std::vector<std::string>{"kvgauge", "eval", "--suite", "synthetic"}));
  EXPECT_EQ(run.provenance_value("cpu"), "Example CPU");
  EXPECT_EQ(run.provenance_value("absent"), "unknown");
  const Item& item = run.items.front();
  ASSERT_TRUE(item.likelihood);
  EXPECT_EQ(item.likelihood->tokens, 1024);
  EXPECT_EQ(item.likelihood->blocks.size(), 2u);
  EXPECT_EQ(item.axis("context"), 1024);
  EXPECT_TRUE(std::isnan(item.axis("protocol")));
  EXPECT_EQ(item.cell_text(), "context=1024,protocol=stream");
}

TEST_F(RecordTest, NotARunFolder) {
  EXPECT_THAT(error_of([&] { read_run(folder_ / "none"); }), HasSubstr("expected a run folder"));
  EXPECT_THAT(error_of([&] { read_run(run_ / "run.json"); }), HasSubstr("found a file"));
  EXPECT_THAT(error_of([&] { read_run(folder_.path()); }), HasSubstr("run.json"));
  std::filesystem::remove(run_ / "items.jsonl");
  EXPECT_THAT(error_of([&] { read_run(run_); }), HasSubstr("items.jsonl"));
}

TEST_F(RecordTest, NamesTheFieldOfRunJson) {
  struct Case {
    std::function<void(json&)> edit;
    std::string key, expected;
  };
  const std::vector<Case> cases = {
      {[](json& r) { r["schema_version"] = 2; }, "schema_version", "expected 1"},
      {[](json& r) { r.erase("status"); }, "status", "expected a string"},
      {[](json& r) { r["request"]["model"]["hash"] = 5; }, "request.model.hash", "number 5"},
      {[](json& r) { r["request"]["methods"][1]["role"] = "x"; }, "request.methods[1].role",
       "reference, method or control"},
      {[](json& r) { r["request"]["methods"][1]["role"] = "reference"; }, "request.methods",
       "exactly one"},
      {[](json& r) { r["methods"].erase("full"); }, "methods.full", "an object"},
      {[](json& r) { r["methods"]["full"]["bytes"][0]["keys"] = -1; }, "methods.full.bytes[0].keys",
       "number -1"},
      {[](json& r) { r["planned_items"] = 1e30; }, "planned_items", "an integer"},
      {[](json& r) { r = json::array(); }, "", "an object"}};
  const std::string intact = read_text(run_ / "run.json");
  for (const Case& c : cases) {
    write_text(run_ / "run.json", intact);
    edit_run(run_, c.edit);
    EXPECT_THAT(error_of([&] { read_run(run_); }),
                AllOf(HasSubstr("run.json"), HasSubstr(c.key), HasSubstr(c.expected)));
  }
  write_text(run_ / "run.json", intact.substr(0, intact.size() / 2));
  EXPECT_THAT(error_of([&] { read_run(run_); }), HasSubstr("expected valid JSON"));
}

TEST_F(RecordTest, NamesTheLineAndFieldOfItems) {
  struct Case {
    std::function<void(json&)> edit;
    std::string key;
  };
  const std::vector<Case> cases = {
      {[](json& r) { r.erase("group"); }, "group"},
      {[](json& r) { r["index"] = "3"; }, "index"},
      {[](json& r) { r["cell"] = 5; }, "cell"},
      {[](json& r) { r["cell"]["length"] = json::array(); }, "cell.length"},
      {[](json& r) { r["cache_bytes"].erase("total"); }, "cache_bytes.total"},
      {[](json& r) { r["nll"] = nullptr; }, "nll"},
      {[](json& r) { r["tokens"] = 1000; }, "blocks"},
      {[](json& r) { r["positions"][0]["tokens"] = 1.5; }, "positions[0].tokens"},
      {[](json& r) { r["blocks"][0] = json::array({1}); }, "blocks"}};
  const std::string intact = read_text(run_ / "items.jsonl");
  for (const Case& c : cases) {
    write_text(run_ / "items.jsonl", intact);
    int line = 0;
    edit_items(run_, [&](json& row) {
      if (++line == 2) c.edit(row);
      return true;
    });
    EXPECT_THAT(error_of([&] { read_run(run_); }),
                AllOf(HasSubstr("items.jsonl:2: " + c.key), HasSubstr("expected")));
  }
  write_text(run_ / "items.jsonl", intact);
  edit_items(run_, [](json& row) {
    if (row["task"] == "needle") row["score"] = 0.5;
    return true;
  });
  EXPECT_THAT(error_of([&] { read_run(run_); }),
              HasSubstr("score: found number 0.5, expected 0 or 1"));
  write_text(run_ / "items.jsonl", "{\"key\": tru\n" + intact);
  EXPECT_THAT(error_of([&] { read_run(run_); }), HasSubstr("items.jsonl:1"));
}

TEST_F(RecordTest, TheTraceOfAKillIsToleratedAndNoted) {
  const std::string intact = read_text(run_ / "items.jsonl");
  const size_t items = read_run(run_).items.size();
  write_text(run_ / "items.jsonl", intact.substr(0, intact.size() - 40));
  const auto run = read_run(run_);
  EXPECT_EQ(run.items.size(), items - 1);
  EXPECT_FALSE(run.complete());
  EXPECT_THAT(run.notes, Contains(HasSubstr("cut off")));
  EXPECT_THAT(run.notes, Contains(HasSubstr("run.json counts")));
  // Even a whole row counts as cut off without its newline: the writer flushes line by line.
  write_text(run_ / "items.jsonl", intact.substr(0, intact.size() - 1));
  EXPECT_EQ(read_run(run_).items.size(), items - 1);
}

TEST_F(RecordTest, RepeatedAndUnexpectedRowsAreLeftOutAndNoted) {
  const std::string intact = read_text(run_ / "items.jsonl");
  const size_t items = read_run(run_).items.size();
  write_text(run_ / "items.jsonl", intact + intact.substr(0, intact.find('\n') + 1));
  auto run = read_run(run_);
  EXPECT_EQ(run.items.size(), items);
  EXPECT_THAT(run.notes, ::testing::ElementsAre(HasSubstr("1 rows of items.jsonl repeat")));
  write_text(run_ / "items.jsonl", intact);
  edit_items(run_, [](json& row) {
    if (row["method"] != "full") row["method"] = "other";
    return true;
  });
  run = read_run(run_);
  EXPECT_LT(run.items.size(), items);
  EXPECT_THAT(run.notes, Contains(HasSubstr("left out (first: window")));
}

TEST_F(RecordTest, AnEditedRequestIsNoted) {
  edit_run(run_, [](json& record) { record["request"]["seed"] = 99; });
  EXPECT_THAT(read_run(run_).notes, ::testing::ElementsAre(HasSubstr("run_id")));
}

TEST_F(RecordTest, FailedItemsNeedNoScore) {
  edit_items(run_, [](json& row) {
    if (row["method"] == "full") {
      for (const char* field : {"score", "cache_bytes", "seconds", "n_prompt", "output", "nll"}) {
        row.erase(field);
      }
      row["error"] = "out of memory";
    }
    return true;
  });
  const auto run = read_run(run_);
  EXPECT_TRUE(run.items.front().failed());
  EXPECT_EQ(run.items.front().score_or_zero(), 0);
}

TEST_F(RecordTest, RetentionIsReadWhereItIs) {
  const json intact = {{"value_tokens", 4}, {"layers", 3},          {"stored_share", {0, 0.5, 1}},
                       {"stored", true},    {"read_weight", -0.25}, {"read", false}};
  const auto set = [this](const json& retention) {
    edit_items(run_, [&](json& row) {
      if (row["task"] == "passkey") row["retention"] = retention;
      return true;
    });
  };
  EXPECT_FALSE(read_run(run_).items.back().retention);
  set(intact);
  const auto run = read_run(run_);
  const auto probed = std::find_if(run.items.begin(), run.items.end(),
                                   [](const Item& item) { return item.retention.has_value(); });
  ASSERT_NE(probed, run.items.end());
  EXPECT_EQ(probed->task, "passkey");
  EXPECT_EQ(probed->retention->value_tokens, 4);
  EXPECT_EQ(probed->retention->stored_share, (std::vector<double>{0, 0.5, 1}));
  EXPECT_EQ(probed->retention->stored_layers(), 1);
  EXPECT_TRUE(probed->retention->stored);
  EXPECT_EQ(probed->retention->read_weight, -0.25);
  EXPECT_FALSE(probed->retention->read);
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, json>>{{"layers", 2},
                                                 {"stored", false},
                                                 {"stored_share", {0, 0.5, 1.5}},
                                                 {"value_tokens", 0},
                                                 {"read_weight", "much"},
                                                 {"read", nullptr}}) {
    json damaged = intact;
    damaged[key] = value;
    set(damaged);
    EXPECT_THAT(error_of([&] { read_run(run_); }), HasSubstr("retention.")) << key;
  }
}

TEST_F(RecordTest, OutputsMayHoldAnyBytes) {
  std::string text = read_text(run_ / "items.jsonl");
  const size_t at = text.find("Then & there");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 4, "\xFF\x01\xC3<");
  write_text(run_ / "items.jsonl", text);
  const auto run = read_run(run_);
  const auto touched = std::find_if(run.items.begin(), run.items.end(), [](const Item& item) {
    return item.output.find("\uFFFD\uFFFD\uFFFD<") != std::string::npos;
  });
  EXPECT_NE(touched, run.items.end());
}

// Whatever happens to the bytes of a record, reading ends in a Run or in an Error.
TEST_F(RecordTest, DamagedFilesNeverCrash) {
  Random random(17);
  for (const char* name : {"run.json", "items.jsonl"}) {
    std::string intact = read_text(run_ / name).substr(0, 20000);
    intact = intact.substr(0, intact.rfind('\n') + 1);
    for (int round = 0; round < 150; ++round) {
      std::string damaged = intact;
      for (uint64_t hits = 1 + random.below(3); hits > 0; --hits) {
        damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
      }
      if (round % 3 == 0) damaged.resize(random.below(damaged.size()));
      write_text(run_ / name, damaged);
      try {
        read_run(run_);
      } catch (const Error&) {
      }
    }
    write_synthetic_run(run_, small_run());
  }
}

}  // namespace
}  // namespace kvg::reports
