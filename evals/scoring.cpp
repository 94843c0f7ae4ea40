#include "evals/scoring.h"

#include "base/names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

namespace kvg {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text) {
    if (is_word(c)) {
      word += lower(c);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string_view skip_space(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) {
    text.remove_prefix(1);
  }
  return text;
}

// Where the first line or sentence ends: at its newline or its mark, or the size of the text.
size_t sentence_end(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const bool mark = text[i] == '.' || text[i] == '!' || text[i] == '?';
    if (text[i] == '\n' || (mark && (i + 1 == text.size() || text[i + 1] == ' '))) return i;
  }
  return text.size();
}

bool is_function_word(const std::string& word) {
  static constexpr auto kWords = std::to_array<std::string_view>(
      {"a",     "about", "after", "all",   "an",    "and",   "are",    "as",    "at",    "be",
       "been",  "but",   "by",    "can",   "could", "did",   "do",     "does",  "for",   "from",
       "had",   "has",   "have",  "he",    "her",   "his",   "how",    "i",     "if",    "in",
       "into",  "is",    "it",    "its",   "me",    "must",  "my",     "no",    "not",   "now",
       "of",    "on",    "one",   "or",    "our",   "she",   "should", "so",    "that",  "the",
       "their", "them",  "then",  "there", "they",  "this",  "to",     "under", "until", "up",
       "was",   "we",    "were",  "what",  "when",  "where", "which",  "who",   "whom",  "whose",
       "will",  "with",  "would", "you",   "your"});
  return std::ranges::find(kWords, word) != kWords.end();
}

}  // namespace

std::string first_number(std::string_view text) {
  const auto begin = std::ranges::find_if(text, is_digit);
  const auto end = std::find_if_not(begin, text.end(), is_digit);
  return {begin, end};
}

bool same_number(std::string_view a, std::string_view b) {
  const auto strip = [](std::string_view digits) {
    while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
    return digits;
  };
  return !a.empty() && !b.empty() && std::ranges::all_of(a, is_digit) &&
         std::ranges::all_of(b, is_digit) && strip(a) == strip(b);
}

bool sentence_complete(std::string_view text) {
  const std::string_view body = skip_space(text);
  return sentence_end(body) < body.size();
}

std::string first_sentence(std::string_view text) {
  const std::string_view body = skip_space(text);
  return std::string(trim(body.substr(0, sentence_end(body))));
}

std::string normalize_answer(std::string_view text) {
  std::string kept;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool inner_hyphen = text[i] == '-' && i > 0 && i + 1 < text.size() &&
                              is_word(text[i - 1]) && is_word(text[i + 1]);
    const bool other = static_cast<unsigned char>(text[i]) >= 0x80;  // UTF-8 stays as it is
    kept += is_word(text[i]) || inner_hyphen || other ? lower(text[i]) : ' ';
  }
  std::vector<std::string> words;
  for (std::string& word : split(kept, ' ')) {
    const bool article = words.empty() && (word == "a" || word == "an" || word == "the");
    if (!word.empty() && !article) words.push_back(std::move(word));
  }
  return join(words, " ");
}

std::string extract_answer(std::string_view output, AnswerKind kind, std::string_view abstention,
                           size_t expected_words) {
  const std::string sentence = first_sentence(output);
  const std::string text = normalize_answer(sentence);
  const std::string phrase = normalize_answer(abstention);
  if (!phrase.empty() && (text == phrase || text.starts_with(phrase + " "))) return phrase;
  if (kind == AnswerKind::kNumber) return first_number(sentence);
  std::vector<std::string> words = split(text, ' ');
  if (words.size() > expected_words) words.resize(expected_words);
  return join(words, " ");
}

std::vector<std::string> content_words(std::string_view text) {
  std::vector<std::string> words = words_of(text);
  std::erase_if(words, is_function_word);
  std::ranges::sort(words);
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

double word_jaccard(std::string_view a, std::string_view b) {
  const std::vector<std::string> in_a = content_words(a);
  const std::vector<std::string> in_b = content_words(b);
  std::vector<std::string> both;
  std::ranges::set_intersection(in_a, in_b, std::back_inserter(both));
  const size_t either = in_a.size() + in_b.size() - both.size();
  return either == 0 ? 0 : static_cast<double>(both.size()) / static_cast<double>(either);
}

double rouge1_precision(std::string_view candidate, std::string_view reference) {
  std::map<std::string, int> available;
  for (const std::string& word : words_of(reference)) ++available[word];
  const std::vector<std::string> words = words_of(candidate);
  int covered = 0;
  for (const std::string& word : words) covered += available[word]-- > 0 ? 1 : 0;
  return words.empty() ? 0 : static_cast<double>(covered) / static_cast<double>(words.size());
}

std::string overlap_bin(double overlap) {
  if (overlap <= 0) return "0";
  if (overlap <= 0.2) return "(0,.2]";
  return overlap <= 0.5 ? "(.2,.5]" : ">.5";
}

}  // namespace kvg
