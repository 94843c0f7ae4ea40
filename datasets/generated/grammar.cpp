#include "datasets/generated/grammar.h"

#include "base/error.h"
#include "base/names.h"
#include "datasets/generated/grammar_yaml.h"

#include <algorithm>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

namespace kvg {
namespace {

constexpr double kFavouriteShare = 0.75;
constexpr auto kNumbers = std::to_array<std::string_view>({"year", "count", "clock"});

std::string number(std::string_view kind, Random& random) {
  if (kind == "year") return std::to_string(1480 + random.below(540));
  if (kind == "clock") {
    return fmt::format("{}:{:02d}", 6 + random.below(17), 5 * random.below(12));
  }
  // Small numbers are the common ones.
  const uint64_t largest[] = {12, 100, 1000, 20000};
  return std::to_string(2 + random.below(largest[random.below(4)]));
}

}  // namespace

int Grammar::symbol(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? -1 : found->second;
}

Grammar::Alternative Grammar::parse_alternative(std::string text, const std::string& where) const {
  Alternative alternative;
  const size_t bar = text.find(" | ");
  if (bar != std::string::npos && text.find_first_not_of("0123456789") == bar) {
    alternative.weight = std::stoi(text.substr(0, bar));
    text = text.substr(bar + 3);
    if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
      text = text.substr(1, text.size() - 2);
    }
  }
  for (size_t at = 0;;) {
    const size_t open = text.find('{', at);
    const size_t close = text.find('}', open);
    Slot slot;
    slot.before = text.substr(at, open == std::string::npos ? open : open - at);
    if (open != std::string::npos) {
      if (close == std::string::npos) throw Error(where, "rule", text, "a closing brace");
      const std::string inside = text.substr(open + 1, close - open - 1);
      const size_t colon = inside.find(':');
      const std::string name = inside.substr(0, colon);
      slot.symbol = symbol(name);
      if (slot.symbol < 0) {
        std::vector<std::string> known;
        for (const Symbol& s : symbols_) known.push_back(s.name);
        throw Error(where, "slot", "'" + name + "'" + did_you_mean(name, known),
                    "a list or a rule");
      }
      if (colon != std::string::npos) slot.form = inside.substr(colon + 1);
      inflect("word", slot.form);  // throws for an unknown form
    }
    alternative.slots.push_back(std::move(slot));
    if (open == std::string::npos) return alternative;
    at = close + 1;
  }
}

Grammar Grammar::parse(std::string_view yaml, const std::string& where) {
  Grammar grammar;
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    const auto declare = [&](const std::string& name) -> Symbol& {
      if (!grammar.index_.emplace(name, std::ssize(grammar.symbols_)).second) {
        throw Error(where, name, "the name twice", "once");
      }
      grammar.symbols_.push_back({name, {}, {}, 0, 0});
      return grammar.symbols_.back();
    };
    for (const std::string_view name : kNumbers) declare(std::string(name));
    for (const auto& list : root["words"]) {
      Symbol& symbol = declare(list.first.Scalar());
      symbol.words = list.second.as<std::vector<std::string>>();
      if (symbol.words.empty()) throw Error(where, symbol.name, "an empty list", "words");
    }
    for (const auto& rule : root["rules"]) declare(rule.first.Scalar());
    for (const auto& rule : root["rules"]) {
      Symbol& symbol = grammar.symbols_[grammar.index_.at(rule.first.Scalar())];
      for (const YAML::Node& text : rule.second) {
        const std::string line = where + ":" + std::to_string(text.Mark().line + 1);
        symbol.alternatives.push_back(grammar.parse_alternative(text.Scalar(), line));
        symbol.total_weight += symbol.alternatives.back().weight;
      }
      if (symbol.total_weight == 0)
        throw Error(where, symbol.name, "an empty rule", "alternatives");
    }
    for (const auto& entry : root["focus"]) {
      const int symbol = grammar.symbol(entry.first.Scalar());
      if (symbol < 0) throw Error(where, "focus", "'" + entry.first.Scalar() + "'", "a word list");
      grammar.symbols_[symbol].focus = entry.second.as<int>();
    }
  } catch (const YAML::Exception& problem) {
    throw Error(where + ":" + std::to_string(problem.mark.line + 1), "", problem.msg, "valid YAML");
  }
  return grammar;
}

const Grammar& Grammar::built_in() {
  static const Grammar grammar = parse(kGrammarYaml, "datasets/generated/grammar.yaml");
  return grammar;
}

Writer::Writer(const Grammar& grammar, uint64_t seed) : grammar_(grammar), random_(seed) {
  favourites_.resize(grammar.symbols_.size());
  for (size_t s = 0; s < grammar.symbols_.size(); ++s) {
    const Grammar::Symbol& symbol = grammar.symbols_[s];
    for (int i = 0; i < symbol.focus; ++i) {
      favourites_[s].push_back(static_cast<uint32_t>(random_.below(symbol.words.size())));
    }
  }
}

int64_t Writer::between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random_.below(static_cast<uint64_t>(high - low + 1)));
}

void Writer::expand(int index, const std::string& form, std::string* out) {
  const Grammar::Symbol& symbol = grammar_.symbols_[static_cast<size_t>(index)];
  if (!symbol.words.empty()) {
    const std::vector<uint32_t>& liked = favourites_[static_cast<size_t>(index)];
    const size_t word = !liked.empty() && chance(kFavouriteShare)
                            ? liked[random_.below(liked.size())]
                            : random_.below(symbol.words.size());
    *out += inflect(symbol.words[word], form);
    return;
  }
  if (symbol.alternatives.empty()) {
    *out += number(symbol.name, random_);
    return;
  }
  auto ticket = static_cast<int64_t>(random_.below(static_cast<uint64_t>(symbol.total_weight)));
  auto chosen = symbol.alternatives.begin();
  for (; ticket >= chosen->weight; ++chosen) ticket -= chosen->weight;
  for (const Grammar::Slot& slot : chosen->slots) {
    *out += slot.before;
    if (slot.symbol >= 0) expand(slot.symbol, slot.form, out);
  }
}

std::string Writer::phrase(std::string_view symbol) {
  const int index = grammar_.symbol(std::string(symbol));
  KVG_CHECK(index >= 0, "unknown symbol of the grammar");
  std::string text;
  expand(index, "", &text);
  return fix_articles(text);
}

std::string Writer::sentence(std::string_view symbol) {
  std::string text = capitalise(phrase(symbol));
  // Direct speech that goes on after the speaker is a sentence of its own.
  for (size_t at = text.find(". \""); at != std::string::npos; at = text.find(". \"", at + 1)) {
    text = text.substr(0, at + 3) + capitalise(text.substr(at + 3));
  }
  if (std::string_view(".!?\"").find(text.back()) == std::string_view::npos) text += '.';
  return text;
}

}  // namespace kvg
