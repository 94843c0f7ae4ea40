#pragma once

#include "base/random.h"
#include "datasets/needle/facts.h"
#include "evals/scoring.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvg {

// What makes a needle problem hard; each is a setting of the task.
struct NeedleOptions {
  bool simple = false;  // one relation, one wording, nothing stale, denied or missing
  // Which side of the line that training never crosses: heldout, train or any.
  std::string names = "heldout";
  std::string statements = "heldout";
  std::string phrasing = "heldout";  // of questions
  int64_t distractors = 6;           // statements in a context that no question is about
  std::vector<std::string> kinds;    // of distractors, see distractor_kinds()
  double updated = 0.2;              // share of questions whose fact replaces an older value
  double unanswerable = 0.2;         // share of questions without a fact
};

// "other_entity"     the same relation of somebody else
// "other_attribute"  another relation of the one who is asked about
// "near_name"        the same relation of somebody with a name much alike
// "near_value"       the same relation of somebody else, the value one digit or one choice away
// "negated"          a value denied or merely supposed
std::vector<std::string> distractor_kinds();

// A sentence or a line to be placed into the haystack.
struct NeedleStatement {
  std::string text;
  std::string form;
  bool own_line = false;
  double place = 0;   // 0..1 of the room for evidence
  int question = -1;  // the question it is the gold evidence of; -1: none
};

struct NeedleQuestion {
  std::string kind;  // "plain", "updated", "unanswerable"
  std::string relation;
  std::string form;  // of the evidence
  std::string text;  // ends where the answer begins
  std::string expected;
  std::string evidence;  // the gold statement; empty when unanswerable
  AnswerKind answer = AnswerKind::kNumber;
  double jaccard = 0;  // overlap of question and evidence without entity and value
  double rouge1 = 0;
};

struct NeedleProblem {
  std::vector<NeedleStatement> statements;  // in order of place
  std::vector<NeedleQuestion> questions;
  std::vector<std::string> entities;  // every name used: the haystack must not have them
};

// A problem with one question for each depth of `depths` (0..1 of the room for evidence), each
// decided by its own seed; `context_seed` decides what they share.
NeedleProblem make_needle_problem(const Facts& facts, const NeedleOptions& options,
                                  std::span<const double> depths, std::span<const uint64_t> seeds,
                                  uint64_t context_seed);

}  // namespace kvg
