#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// First run of decimal digits, "" when there is none: the published passkey rule.
std::string first_number(std::string_view text);

// Equal as integers, leading zeros aside. False when either is empty or not all digits.
bool same_number(std::string_view a, std::string_view b);

// True once the text has a whole first line or sentence: more text cannot change first_sentence().
bool sentence_complete(std::string_view text);

// Text up to the first newline or the end of the first sentence (". ", "! ", "? ", or such a mark
// at the very end), trimmed.
std::string first_sentence(std::string_view text);

// Lower case, punctuation other than inner '-' removed, leading articles dropped, spaces collapsed.
std::string normalize_answer(std::string_view text);

enum class AnswerKind { kNumber, kText };

// What the model answered: "" when nothing looks like an answer.
//   an abstention   the phrase, when the first sentence starts with it
//   kNumber         the first number of the first sentence
//   kText           the first sentence, normalised, cut to as many words as `expected_words`
std::string extract_answer(std::string_view output, AnswerKind kind, std::string_view abstention,
                           size_t expected_words);

// Distinct lower-case words of letters and digits, function words left out, sorted.
std::vector<std::string> content_words(std::string_view text);

// |A and B| / |A or B| over content words; 0 when both are empty.
double word_jaccard(std::string_view a, std::string_view b);

// ROUGE-1 precision: share of the words of `candidate` (all of them, with repetition) that
// `reference` covers, each of its words at most as often as it occurs there. 0 for an empty
// candidate.
double rouge1_precision(std::string_view candidate, std::string_view reference);

// "0", "(0,.2]", "(.2,.5]", ">.5"
std::string overlap_bin(double overlap);

}  // namespace kvg
