#pragma once

#include "kernels/ops.h"

#include <cstdint>
#include <limits>
#include <vector>

namespace kvg {

// An instrument: which of some tokens the queries of one sequence can still read as they were, and
// how much attention they pay to them. It changes nothing and costs nothing where no query is
// watched. Host sets only.
struct AttentionWatch {
  // Asked: queries at this position and later; the tokens' positions, ascending.
  int64_t from = std::numeric_limits<int64_t>::max();
  std::vector<int64_t> positions;

  // Seen.
  struct Layer {
    // [positions] readable as itself: in a slot that holds this token and no other. What went into
    // an average is not.
    std::vector<bool> held;
    // Largest over query heads of the net weight of all positions together: softmax weights of
    // stream 0, less lambda times those of stream 1. A head norm comes after it.
    double weight = 0;
  };
  struct Query {
    int64_t position = 0;
    std::vector<Layer> layers;
  };
  std::vector<Query> queries;  // by position
};

// Adds what the rows of `params` at watched positions see; all its blocks are of one sequence.
// Weights are computed in double from the slots, whatever the set's own arithmetic.
void watch_attention(const AttentionParams& params, AttentionWatch* watch);

}  // namespace kvg
