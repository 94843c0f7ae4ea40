#include "datasets/needle/facts.h"

#include "base/error.h"
#include "base/sha256.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using testing::HasSubstr;

std::string facts_file() {
  std::ifstream file(std::string(KVG_SOURCE_DIR) + "/datasets/needle/facts.yaml");
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

std::string error_of(std::string yaml, const std::string& from, const std::string& to) {
  const size_t at = yaml.find(from);
  if (at == std::string::npos) return "the file has no '" + from + "'";
  yaml.replace(at, from.size(), to);
  try {
    parse_facts(yaml, "f.yaml");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Facts, TheProgramHoldsTheFile) {
  EXPECT_EQ(built_in_facts().sha256, sha256(facts_file()));
  EXPECT_EQ(built_in_facts().abstain, "not stated");
  EXPECT_EQ(built_in_facts().relations.size(), 10U);
}

TEST(Facts, EveryRelationIsComplete) {
  for (const Relation& relation : built_in_facts().relations) {
    EXPECT_GE(relation.statements.size(), 8U) << relation.name;
    EXPECT_TRUE((relation.digits > 0) != !relation.choices.empty()) << relation.name;
    for (const auto* list : {&relation.stale, &relation.update, &relation.negated}) {
      ASSERT_FALSE(list->empty());
      for (const std::string& wording : *list) {
        EXPECT_THAT(wording, testing::AllOf(HasSubstr("{e}"), HasSubstr("{v}")));
      }
    }
  }
}

TEST(Facts, HeldOutNamesAreNotTrainedOn) {
  for (const std::string entity : {"person", "projects", "servers"}) {
    const NameLists& seen = built_in_facts().names(entity, false);
    const NameLists& unseen = built_in_facts().names(entity, true);
    for (const auto part : {&NameLists::first, &NameLists::last, &NameLists::whole}) {
      const std::set<std::string> trained((seen.*part).begin(), (seen.*part).end());
      for (const std::string& name : unseen.*part) EXPECT_FALSE(trained.contains(name)) << name;
    }
  }
}

TEST(Facts, FillsOnlyItsPlaceholders) {
  EXPECT_EQ(fill_wording("{\"p\": \"{e}\", \"code\": {v}},", "Old Mill", "123"),
            "{\"p\": \"Old Mill\", \"code\": 123},");
  EXPECT_TRUE(own_line("log"));
  EXPECT_FALSE(own_line("two_sentences"));
}

TEST(Facts, SaysWhatIsWrongAndWhere) {
  const std::string yaml = facts_file();
  EXPECT_THAT(error_of(yaml, "abstain:", "abstane:"), HasSubstr("abstain"));
  EXPECT_THAT(error_of(yaml, "kind: digits", "kind: digit"), HasSubstr("digits or choice"));
  EXPECT_THAT(error_of(yaml, "split: train", "split: trian"), HasSubstr("train or heldout"));
  EXPECT_THAT(error_of(yaml, "The locker number of {e} is {v}.", "The locker number is {v}."),
              HasSubstr("{e}"));
  EXPECT_THAT(error_of(yaml, "entity: person", "entity: persons"),
              HasSubstr("person, projects or servers"));
  EXPECT_THAT(error_of(yaml, "length: 5", "length: five"), HasSubstr("f.yaml"));
  EXPECT_THAT(error_of(yaml, "  first: [Ada,", "  first: {Ada,"), HasSubstr("f.yaml"));
  EXPECT_THAT(error_of(yaml, "relations:", "relation:"), HasSubstr("relations"));
}

}  // namespace
}  // namespace kvg
