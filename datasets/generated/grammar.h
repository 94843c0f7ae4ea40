#pragma once

#include "base/random.h"

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// Text from words and rules. A rule is a list of alternatives, each with a weight; an alternative
// is text with slots: "{noun}" a word of that list or an expansion of that rule, "{verb:past}" a
// word put into a form. Slots that no list or rule defines are numbers: year, count, clock.
class Grammar {
 public:
  // Throws Error naming `where` and what is wrong: no YAML, an unknown slot or form, an empty list.
  static Grammar parse(std::string_view yaml, const std::string& where);
  // The grammar that ships with the program (grammar.yaml).
  static const Grammar& built_in();

 private:
  friend class Writer;

  struct Slot {
    std::string before;  // text in front of the slot
    int symbol = -1;     // -1: none, the alternative ends with `before`
    std::string form;
  };
  struct Alternative {
    int weight = 1;
    std::vector<Slot> slots;
  };
  struct Symbol {
    std::string name;
    std::vector<std::string> words;         // a word list, or
    std::vector<Alternative> alternatives;  // a rule, or neither: a number
    int total_weight = 0;
    int focus = 0;  // words that one document prefers; 0: no preference
  };

  int symbol(const std::string& name) const;  // -1 when unknown
  Alternative parse_alternative(std::string text, const std::string& where) const;

  std::vector<Symbol> symbols_;
  std::map<std::string, int> index_;
};

// Writes one document: has favourite words and a stream of random numbers of its own.
class Writer {
 public:
  Writer(const Grammar& grammar, uint64_t seed);

  // An expansion as it is, and one as a sentence: capital letter, full stop unless it ends in a
  // mark.
  std::string phrase(std::string_view symbol);
  std::string sentence(std::string_view symbol);

  uint64_t below(uint64_t n) { return random_.below(n); }
  // Uniform in [low, high].
  int64_t between(int64_t low, int64_t high);
  bool chance(double share) { return random_.uniform() < share; }

 private:
  void expand(int symbol, const std::string& form, std::string* out);

  const Grammar& grammar_;
  Random random_;
  std::vector<std::vector<uint32_t>> favourites_;  // by symbol
};

// "mouse" -> "mice", "carry" -> "carried"; the first word of "ask for" is the one that changes.
// Throws Error for an unknown form.
std::string inflect(const std::string& word, const std::string& form);

// "a" before a vowel sound becomes "an".
std::string fix_articles(std::string_view text);
std::string capitalise(std::string text);

}  // namespace kvg
