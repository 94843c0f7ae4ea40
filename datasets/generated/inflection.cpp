#include "base/error.h"
#include "datasets/generated/grammar.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

namespace kvg {
namespace {

bool vowel(char c) { return std::string_view("aeiou").find(c) != std::string_view::npos; }

struct Irregular {
  std::string_view past;
  std::string_view done;
};

const Irregular* irregular(const std::string& verb) {
  static const std::map<std::string, Irregular, std::less<>> table = {
      {"bring", {"brought", "brought"}}, {"build", {"built", "built"}},
      {"buy", {"bought", "bought"}},     {"choose", {"chose", "chosen"}},
      {"come", {"came", "come"}},        {"cut", {"cut", "cut"}},
      {"draw", {"drew", "drawn"}},       {"drive", {"drove", "driven"}},
      {"fall", {"fell", "fallen"}},      {"find", {"found", "found"}},
      {"fly", {"flew", "flown"}},        {"forget", {"forgot", "forgotten"}},
      {"go", {"went", "gone"}},          {"hang", {"hung", "hung"}},
      {"hear", {"heard", "heard"}},      {"hide", {"hid", "hidden"}},
      {"hold", {"held", "held"}},        {"keep", {"kept", "kept"}},
      {"kneel", {"knelt", "knelt"}},     {"know", {"knew", "known"}},
      {"leave", {"left", "left"}},       {"lend", {"lent", "lent"}},
      {"lose", {"lost", "lost"}},        {"make", {"made", "made"}},
      {"put", {"put", "put"}},           {"ride", {"rode", "ridden"}},
      {"rise", {"rose", "risen"}},       {"run", {"ran", "run"}},
      {"say", {"said", "said"}},         {"sell", {"sold", "sold"}},
      {"send", {"sent", "sent"}},        {"shut", {"shut", "shut"}},
      {"sit", {"sat", "sat"}},           {"sleep", {"slept", "slept"}},
      {"stand", {"stood", "stood"}},     {"swim", {"swam", "swum"}},
      {"take", {"took", "taken"}},       {"think", {"thought", "thought"}},
      {"throw", {"threw", "thrown"}},    {"understand", {"understood", "understood"}},
      {"wake", {"woke", "woken"}},       {"write", {"wrote", "written"}}};
  const auto found = table.find(verb);
  return found == table.end() ? nullptr : &found->second;
}

// Verbs that double their last consonant: one stressed short syllable at the end.
bool doubles(const std::string& verb) {
  static constexpr auto kVerbs = std::to_array<std::string_view>(
      {"admit", "cut", "drag", "drop", "forget", "plan", "put", "run", "shut", "sit", "slip",
       "stop", "swim", "step", "travel", "wrap"});
  return std::ranges::find(kVerbs, verb) != kVerbs.end();
}

std::string with_s(const std::string& word) {
  const char last = word.back();
  const char before = word.size() > 1 ? word[word.size() - 2] : ' ';
  const bool hiss = last == 's' || last == 'x' || last == 'z' ||
                    (last == 'h' && (before == 's' || before == 'c'));
  if (hiss || word == "go" || word == "echo") return word + "es";
  if (last == 'y' && !vowel(before)) return word.substr(0, word.size() - 1) + "ies";
  return word + "s";
}

std::string plural(const std::string& noun) {
  static const std::map<std::string, std::string, std::less<>> table = {
      {"deer", "deer"},         {"fisherman", "fishermen"}, {"foot", "feet"},   {"goose", "geese"},
      {"knife", "knives"},      {"loaf", "loaves"},         {"mouse", "mice"},  {"ox", "oxen"},
      {"sheep", "sheep"},       {"shelf", "shelves"},       {"trout", "trout"}, {"wolf", "wolves"},
      {"ferryman", "ferrymen"}, {"postman", "postmen"},     {"inch", "inches"}};
  const auto found = table.find(noun);
  return found == table.end() ? with_s(noun) : found->second;
}

std::string with_ed(const std::string& verb) {
  if (verb.back() == 'e') return verb + "d";
  if (verb.back() == 'y' && !vowel(verb[verb.size() - 2])) {
    return verb.substr(0, verb.size() - 1) + "ied";
  }
  return doubles(verb) ? verb + verb.back() + "ed" : verb + "ed";
}

std::string with_ing(const std::string& verb) {
  if (verb.ends_with("ie")) return verb.substr(0, verb.size() - 2) + "ying";
  if (verb.back() == 'e' && !verb.ends_with("ee")) return verb.substr(0, verb.size() - 1) + "ing";
  return doubles(verb) ? verb + verb.back() + "ing" : verb + "ing";
}

}  // namespace

std::string inflect(const std::string& word, const std::string& form) {
  if (form.empty()) return word;
  if (form == "plural") return plural(word);
  const size_t space = word.find(' ');
  const std::string head = word.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : word.substr(space);
  const Irregular* odd = irregular(head);
  if (form == "past") return (odd != nullptr ? std::string(odd->past) : with_ed(head)) + rest;
  if (form == "done") return (odd != nullptr ? std::string(odd->done) : with_ed(head)) + rest;
  if (form == "ing") return with_ing(head) + rest;
  throw Error("grammar", "form", "'" + form + "'", "plural, past, done or ing");
}

std::string fix_articles(std::string_view text) {
  static constexpr auto kConsonantSound =
      std::to_array<std::string_view>({"one", "uni", "use", "usu", "eu"});
  static constexpr auto kVowelSound = std::to_array<std::string_view>({"honest", "hour", "heir"});
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    result += text[i];
    const bool word_start = i == 0 || std::isalpha(static_cast<unsigned char>(text[i - 1])) == 0;
    if ((text[i] != 'a' && text[i] != 'A') || !word_start || i + 2 >= text.size() ||
        text[i + 1] != ' ')
      continue;
    const std::string_view next = text.substr(i + 2);
    const auto starts = [&](std::string_view prefix) { return next.starts_with(prefix); };
    const bool sound = vowel(static_cast<char>(std::tolower(static_cast<unsigned char>(next[0]))));
    if ((sound && std::ranges::none_of(kConsonantSound, starts)) ||
        std::ranges::any_of(kVowelSound, starts)) {
      result += 'n';
    }
  }
  return result;
}

std::string capitalise(std::string text) {
  const auto letter = std::ranges::find_if(
      text, [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
  if (letter != text.end())
    *letter = static_cast<char>(std::toupper(static_cast<unsigned char>(*letter)));
  return text;
}

}  // namespace kvg
