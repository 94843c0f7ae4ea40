#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvg {

// The facts of the messy-needle task, as facts.yaml has them (its comments say what each part is).
// "{e}" stands for the entity, "{v}" for the value.
struct Wording {
  std::string text;
  std::string form;       // "plain", "list", "log", ...; empty for questions
  bool held_out = false;  // never shown in training
};

struct Relation {
  std::string name;
  std::string entity;  // "person", "projects", "servers"
  int digits = 0;      // of a number; 0: one of `choices`
  std::vector<std::string> choices;
  std::vector<Wording> statements;
  std::vector<std::string> stale;
  std::vector<std::string> update;
  std::vector<std::string> negated;
  std::vector<Wording> questions;
};

// Names of one kind of entity. People have first and last names, the others whole ones.
struct NameLists {
  std::vector<std::string> first;
  std::vector<std::string> last;
  std::vector<std::string> whole;
};

struct Facts {
  int version = 0;
  std::string abstain;
  std::string sha256;  // of the file
  std::vector<Relation> relations;
  NameLists people, projects, servers;  // seen in training
  NameLists people_held_out, projects_held_out, servers_held_out;
  // Pairs that an inattentive reader confuses.
  std::vector<std::pair<std::string, std::string>> near_first;
  std::vector<std::pair<std::string, std::string>> near_last;

  const NameLists& names(const std::string& entity, bool held_out) const;
};

// The facts that ship with the program.
const Facts& built_in_facts();

// Throws Error naming `where`, the line and the key.
Facts parse_facts(std::string_view yaml, const std::string& where);

// True for surfaces that stand on lines of their own.
bool own_line(std::string_view form);

// The wording with entity and value put in.
std::string fill_wording(std::string_view wording, std::string_view entity, std::string_view value);

}  // namespace kvg
