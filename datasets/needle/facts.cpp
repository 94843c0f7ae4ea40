#include "datasets/needle/facts.h"

#include "base/error.h"
#include "base/names.h"
#include "base/sha256.h"
#include "datasets/needle/facts_yaml.h"

#include <algorithm>
#include <array>

#include <yaml-cpp/yaml.h>

namespace kvg {
namespace {

std::string place(const std::string& where, const YAML::Node& node) {
  return where + ":" + std::to_string(node.Mark().line + 1);
}

YAML::Node child(const YAML::Node& node, const std::string& key, const std::string& where) {
  const YAML::Node found = node[key];
  if (!found) throw Error(place(where, node), key, "nothing", "a value");
  return found;
}

std::string text(const YAML::Node& node, const std::string& key, const std::string& where) {
  const YAML::Node value = child(node, key, where);
  if (!value.IsScalar()) throw Error(place(where, value), key, "a collection", "a text");
  return value.Scalar();
}

std::vector<std::string> texts(const YAML::Node& node, const std::string& key,
                               const std::string& where) {
  const YAML::Node list = child(node, key, where);
  if (!list.IsSequence() || list.size() == 0) {
    throw Error(place(where, list), key, "no list", "a list of texts");
  }
  std::vector<std::string> result;
  for (const YAML::Node& entry : list) {
    if (!entry.IsScalar()) throw Error(place(where, entry), key, "a collection", "a text");
    result.push_back(entry.Scalar());
  }
  return result;
}

void need_placeholder(const std::string& wording, std::string_view placeholder,
                      const std::string& where, const std::string& key) {
  if (wording.find(placeholder) != std::string::npos) return;
  throw Error(where, key, "'" + wording + "'", "a wording with " + std::string(placeholder));
}

std::vector<Wording> wordings(const YAML::Node& relation, const std::string& key,
                              const std::string& where) {
  const bool statement = key == "statements";
  std::vector<Wording> result;
  for (const YAML::Node& entry : child(relation, key, where)) {
    Wording wording;
    wording.text = text(entry, "text", where);
    const std::string split = text(entry, "split", where);
    if (split != "train" && split != "heldout") {
      throw Error(place(where, entry), "split", "'" + split + "'", "train or heldout");
    }
    wording.held_out = split == "heldout";
    if (statement) wording.form = text(entry, "form", where);
    need_placeholder(wording.text, "{e}", place(where, entry), key);
    if (statement) need_placeholder(wording.text, "{v}", place(where, entry), key);
    result.push_back(std::move(wording));
  }
  for (const bool held_out : {false, true}) {
    const auto same = [&](const Wording& w) { return w.held_out == held_out; };
    if (std::ranges::any_of(result, same)) continue;
    throw Error(place(where, relation), key, "one split only", "train and heldout wordings");
  }
  return result;
}

std::vector<std::pair<std::string, std::string>> pairs(const YAML::Node& list,
                                                       const std::string& where) {
  std::vector<std::pair<std::string, std::string>> result;
  for (const YAML::Node& pair : list) {
    if (!pair.IsSequence() || pair.size() != 2) {
      throw Error(place(where, pair), "near_names", "not a pair", "[name, name]");
    }
    result.emplace_back(pair[0].Scalar(), pair[1].Scalar());
  }
  return result;
}

Relation relation_of(const YAML::Node& node, const YAML::Node& root, const std::string& where) {
  Relation relation;
  relation.name = text(node, "name", where);
  relation.entity = text(node, "entity", where);
  const YAML::Node value = child(node, "value", where);
  const std::string kind = text(value, "kind", where);
  if (kind == "digits") {
    relation.digits = child(value, "length", where).as<int>();
  } else if (kind == "choice") {
    relation.choices = texts(root, text(value, "from", where), where);
  } else {
    throw Error(place(where, value), "kind", "'" + kind + "'", "digits or choice");
  }
  relation.statements = wordings(node, "statements", where);
  relation.questions = wordings(node, "questions", where);
  relation.stale = texts(node, "stale", where);
  relation.update = texts(node, "update", where);
  relation.negated = texts(node, "negated", where);
  return relation;
}

}  // namespace

const NameLists& Facts::names(const std::string& entity, bool held_out) const {
  if (entity == "person") return held_out ? people_held_out : people;
  if (entity == "projects") return held_out ? projects_held_out : projects;
  KVG_CHECK(entity == "servers", "unknown kind of entity");
  return held_out ? servers_held_out : servers;
}

Facts parse_facts(std::string_view yaml, const std::string& where) {
  Facts facts;
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    facts.version = child(root, "version", where).as<int>();
    facts.abstain = text(root, "abstain", where);
    const YAML::Node names = child(root, "names", where);
    const YAML::Node held_out = child(root, "names_heldout", where);
    facts.people = {texts(names, "first", where), texts(names, "last", where), {}};
    facts.people_held_out = {texts(held_out, "first", where), texts(held_out, "last", where), {}};
    facts.projects.whole = texts(root, "projects", where);
    facts.projects_held_out.whole = texts(root, "projects_heldout", where);
    facts.servers.whole = texts(root, "servers", where);
    facts.servers_held_out.whole = texts(root, "servers_heldout", where);
    const YAML::Node near = child(root, "near_names", where);
    facts.near_first = pairs(child(near, "first", where), where);
    facts.near_last = pairs(child(near, "last", where), where);
    for (const YAML::Node& node : child(root, "relations", where)) {
      facts.relations.push_back(relation_of(node, root, where));
    }
  } catch (const YAML::Exception& problem) {
    throw Error(where + ":" + std::to_string(problem.mark.line + 1), "", problem.msg, "valid YAML");
  }
  static constexpr auto kEntities =
      std::to_array<std::string_view>({"person", "projects", "servers"});
  for (const Relation& relation : facts.relations) {
    if (std::ranges::find(kEntities, relation.entity) != kEntities.end()) continue;
    throw Error(where, relation.name + ".entity", "'" + relation.entity + "'",
                "person, projects or servers");
  }
  if (facts.relations.empty()) throw Error(where, "relations", "none", "at least one relation");
  facts.sha256 = sha256(yaml);
  return facts;
}

const Facts& built_in_facts() {
  static const Facts facts = parse_facts(kFactsYaml, "datasets/needle/facts.yaml");
  return facts;
}

bool own_line(std::string_view form) {
  static constexpr auto kForms =
      std::to_array<std::string_view>({"list", "table", "log", "code", "email"});
  return std::ranges::find(kForms, form) != kForms.end();
}

std::string fill_wording(std::string_view wording, std::string_view entity,
                         std::string_view value) {
  std::string result;
  for (size_t i = 0; i < wording.size();) {
    const std::string_view next = wording.substr(i, 3);
    if (next == "{e}" || next == "{v}") {
      result += next == "{e}" ? entity : value;
      i += 3;
    } else {
      result += wording[i++];
    }
  }
  return result;
}

}  // namespace kvg
