#pragma once

#include "kernels/landmark.h"
#include "model/method.h"

#include <cstdint>
#include <vector>

namespace kvg {

// When tokens leave the window.
enum class LandmarkSchedule : uint8_t {
  grid,  // at positions that are multiples of `block`, before they are attended from (EvictionGrid)
  calls,  // published: after every `block` tokens of a call, after they have attended; a call of
          // one token makes room first and then attends
};

// Which dimensions of a key count as slow.
enum class LandmarkBand : uint8_t {
  pairs,  // the slower half of the RoPE pairs, whatever the pairing
  dims,   // published: dimensions from head_dim/2 on, which is the same for interleaved pairs only
  all,    // control: every one, so that averages of keys keep and are routed by their fast ones too
};

// What the arguments of `landmark` say, with every default of the chosen semantics filled in.
struct LandmarkSettings {
  int64_t window = 256;
  int64_t exact = 64;
  int64_t summary = 64;
  int64_t block = 64;
  LandmarkRules rules;
  LandmarkSchedule schedule = LandmarkSchedule::grid;
  LandmarkBand band = LandmarkBand::pairs;
  double eta = 0;                // rate of the averages for models without a learned one
  bool published_state = false;  // normalised copies, full-width summary keys and a ring mask
  bool count_bias = false;       // log of the tokens merged is added to a summary slot's logit
  bool random_banks = false;     // published: banks start as noise, N(0, 0.02^2)
  uint64_t seed = 0;

  // Throws Error naming the argument when values do not fit together.
  static LandmarkSettings from(const RetentionSpec& spec);
};

std::vector<ArgumentSpec> landmark_argument_specs();

// Slow dimensions of a key, ascending.
std::vector<int32_t> slow_dimensions(int head_dim, bool half_split_rope, LandmarkBand band);

// Rows [begin, end) of positions that read the same banks: those that hold all tokens before
// `visible`; from there on, tokens are read from the window.
struct LandmarkBlock {
  int64_t begin = 0, end = 0;
  int64_t visible = 0;
};

// How a call with tokens [begin, end) goes. Afterwards the tokens before landmark_evicted() have
// left the window.
std::vector<LandmarkBlock> landmark_blocks(const LandmarkSettings& settings, int64_t begin,
                                           int64_t end);
int64_t landmark_evicted(const LandmarkSettings& settings, int64_t end);

}  // namespace kvg
