#include "evals/suite.h"

#include "base/error.h"
#include "evals/task.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(const std::string& yaml) {
  try {
    parse_suite(yaml, "s.yaml");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string override_error(const std::string& key, const std::string& value) {
  Suite suite = load_suite("quick");
  try {
    const SuiteOverride change = {key, value, "--" + key};
    apply_overrides(&suite, {&change, 1});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Suite, ReadsEverything) {
  const Suite suite = parse_suite(R"yaml(name: trial
model: some/folder
seed: 3
limit: 7
methods: "full, sinks(sinks=4,window=60)"
controls:
  - oracle
  - random(window=8,bank=8)
tasks:
  passkey:
  needle: {lengths: [1k, 2k..8k*2], items: 5}
)yaml",
                                  "s.yaml");
  EXPECT_EQ(suite.name, "trial");
  EXPECT_EQ(suite.model, "some/folder");
  EXPECT_EQ(suite.seed, 3U);
  EXPECT_EQ(suite.limit, 7);
  EXPECT_THAT(suite.methods, ElementsAre("full", "sinks(sinks=4,window=60)"));
  EXPECT_THAT(suite.controls, ElementsAre("oracle", "random(window=8,bank=8)"));
  ASSERT_EQ(suite.tasks.size(), 2U);
  EXPECT_TRUE(suite.tasks[0].settings.empty());
  EXPECT_EQ(suite.tasks[1].settings.at("lengths").text, "1k,2k..8k*2");
  EXPECT_EQ(suite.tasks[1].settings.at("lengths").where, "s.yaml:11");
  const Settings settings("needle", find_task("needle").settings(), suite.tasks[1].settings);
  EXPECT_THAT(settings.counts("lengths"), ElementsAre(1024, 2048, 4096, 8192));
  EXPECT_EQ(settings.count("items"), 5);
  EXPECT_EQ(settings.count("questions"), 5) << "the default";
}

TEST(Suite, SaysWhatIsWrongAndWhere) {
  const std::string rest = "methods: [full]\ntasks: {passkey: }\n";
  EXPECT_THAT(error_of("metods: [full]\n" + rest), HasSubstr("s.yaml:1"));
  EXPECT_THAT(error_of("metods: [full]\n" + rest), HasSubstr("did you mean 'methods'"));
  EXPECT_THAT(error_of("methods: [full]\ntasks: {needel: }\n"), HasSubstr("did you mean 'needle'"));
  EXPECT_THAT(error_of("methods: [full]\ntasks:\n  needle:\n    lenghts: 1k\n"),
              testing::AllOf(HasSubstr("s.yaml:4"), HasSubstr("did you mean 'lengths'")));
  EXPECT_THAT(
      error_of("methods: [full]\ntasks:\n  needle:\n    items: many\n"),
      testing::AllOf(HasSubstr("s.yaml:4"), HasSubstr("'many'"), HasSubstr("whole number")));
  EXPECT_THAT(error_of("methods: [full]\ntasks: {needle: {unanswerable: 2}}\n"),
              HasSubstr("from 0 to 0.95"));
  EXPECT_THAT(error_of("seed: 1\nseed: 2\n" + rest), HasSubstr("twice"));
  EXPECT_THAT(error_of("methods: {a: b}\ntasks: {passkey: }\n"), HasSubstr("a mapping"));
  EXPECT_THAT(error_of("seed: x\n" + rest), HasSubstr("'x'"));
  EXPECT_THAT(error_of("tasks: {passkey: }\n"), HasSubstr("methods"));
  EXPECT_THAT(error_of("methods: [full]\n"), HasSubstr("tasks"));
  EXPECT_THAT(error_of("methods: [full\n"), HasSubstr("valid YAML"));
  EXPECT_THAT(error_of("just a text"), HasSubstr("a mapping"));
  EXPECT_THAT(error_of(""), HasSubstr("a mapping"));
  EXPECT_THAT(error_of("? [a, b]\n: c\n" + rest), HasSubstr("a name as key"));
  EXPECT_THAT(error_of("methods: [[full]]\ntasks: {passkey: }\n"), HasSubstr("a list"));
}

TEST(Suite, SurvivesAnyDamage) {
  const std::string whole = R"yaml(name: x
methods: [full, "window(window=9)"]
tasks: {needle: {lengths: [1k, 2k], items: 5}, perplexity: {data: generated}}
)yaml";
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    for (const std::string& noise : {std::string(), std::string("\t"), std::string("\xff"),
                                     std::string("{"), std::string(": ")}) {
      try {
        parse_suite(whole.substr(0, cut) + noise + (noise.empty() ? "" : whole.substr(cut)),
                    "s.yaml");
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      }
    }
  }
}

TEST(Suite, OverridesApply) {
  Suite suite = load_suite("quick");
  const std::vector<SuiteOverride> changes = {{"data", "wikitext2", "--data"},
                                              {"tasks", "needle,perplexity", "--tasks"},
                                              {"methods", "full,window(window=9)", "--methods"},
                                              {"needle.lengths", "1k..4k*2", "--set"},
                                              {"seed", "9", "--seed"},
                                              {"limit", "2", "--limit"}};
  apply_overrides(&suite, changes);
  ASSERT_EQ(suite.tasks.size(), 2U);
  EXPECT_EQ(suite.tasks[0].name, "needle");
  EXPECT_EQ(suite.tasks[0].settings.at("data").text, "wikitext2");
  EXPECT_EQ(suite.tasks[0].settings.at("lengths").text, "1k..4k*2");
  EXPECT_EQ(suite.tasks[1].settings.at("data").text, "wikitext2");
  EXPECT_THAT(suite.methods, ElementsAre("full", "window(window=9)"));
  EXPECT_EQ(suite.seed, 9U);
  EXPECT_EQ(suite.limit, 2);
}

TEST(Suite, OverridesThatDoNotApplyAreErrors) {
  EXPECT_THAT(override_error("lenghts", "1k"), HasSubstr("did you mean 'lengths'"));
  EXPECT_THAT(override_error("lengths", "1q"), HasSubstr("'1q'"));
  EXPECT_THAT(override_error("tasks", "passkey,paskey"), HasSubstr("did you mean 'passkey'"));
  EXPECT_THAT(override_error("tasks", "passkey,passkey"), HasSubstr("twice"));
  EXPECT_THAT(override_error("tasks", ""), HasSubstr("empty"));
  EXPECT_THAT(override_error("methods", ""), HasSubstr("empty"));
  EXPECT_THAT(override_error("passkey.data", "wikitext2"), HasSubstr("passkey.data"));
  EXPECT_THAT(override_error("paskey.items", "1"), HasSubstr("did you mean 'passkey'"));
}

TEST(Suite, BuiltInOnesAreValidAndFilesAreRead) {
  EXPECT_THAT(built_in_suites(), ElementsAre("quick", "full", "arms"));
  for (const std::string& name : built_in_suites()) {
    const Suite suite = load_suite(name);
    EXPECT_EQ(suite.name, name);
    EXPECT_EQ(suite.methods.front(), "full");
    EXPECT_EQ(suite.tasks.size(), task_table().size());
  }
  try {
    load_suite("quik");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'quick'"));
  }
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("kvg_suite_" + std::to_string(getpid()) + ".yaml");
  std::ofstream(file) << "methods: [full]\ntasks: {passkey: }\n";
  EXPECT_EQ(load_suite(file.string()).name, file.stem().string());
  std::filesystem::remove(file);
}

// Every row of the table of tasks has what the table promises.
TEST(Tasks, TheTableIsConsistent) {
  for (const TaskEntry& entry : task_table()) {
    EXPECT_GE(entry.version, 1);
    EXPECT_EQ(&find_task(entry.name), &entry);
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(KVG_SOURCE_DIR) / "evals/tasks" /
                                        entry.name / "README.md"));
    const Settings defaults(entry.name, entry.settings(), {});
    EXPECT_EQ(defaults.all().size(), entry.settings().size());
  }
}

}  // namespace
}  // namespace kvg
