#pragma once

#include "base/random.h"
#include "evals/tasks/needle/problem.h"
#include "model/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kvg {

// Where statements go, in tokens counted from the BOS (which is token 0).
struct HaystackPlan {
  int64_t context = 0;  // tokens of the whole context, BOS included, at most
  int64_t guard = 0;    // its last tokens, which hold no statement
};

struct FilledHaystack {
  std::string text;
  std::vector<int32_t> tokens;  // BOS included
  // Of each statement in `problem.statements`: its tokens, [begin, end).
  std::vector<std::pair<int64_t, int64_t>> spans;
};

// A window of `text` with the statements of the problem inserted: sentences after the end of a
// sentence, lines at the start of a line, the nearest such place to the wanted depth. All of them
// end before the guard. The window is drawn so that no name of the problem occurs in it.
// Throws Error when the statements do not fit.
FilledHaystack fill_haystack(const std::string& text, const NeedleProblem& problem,
                             const HaystackPlan& plan, const Tokenizer& tokenizer, uint64_t seed);

}  // namespace kvg
