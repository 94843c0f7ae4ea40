#include "model/cache/landmark_settings.h"

#include "base/error.h"
#include "model/cache/grid.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

namespace kvg {

namespace {

constexpr char kAuto[] = "auto";                       // as the semantics have it
constexpr double kPublishedEta = 0.04742587317756678;  // sigmoid(-3)
constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

const std::vector<std::string>& on_off() {
  static const std::vector<std::string> choices = {"off", "on"};
  return choices;
}

// Looks a choice up, `automatic` when it was left to the semantics.
class Choices {
 public:
  Choices(const RetentionSpec& spec, bool fixed) : spec_(spec), fixed_(fixed) {}

  // fixed_name / reference_name: the value that each semantics stands for.
  bool is(const std::string& key, const std::string& value, const std::string& fixed_name,
          const std::string& reference_name) const {
    const std::string& given = spec_.text(key);
    return (given == kAuto ? (fixed_ ? fixed_name : reference_name) : given) == value;
  }
  int64_t integer(const std::string& key, int64_t automatic, int64_t fixed_value,
                  int64_t reference_value) const {
    const int64_t given = spec_.integer(key);
    return given != automatic ? given : fixed_ ? fixed_value : reference_value;
  }

 private:
  const RetentionSpec& spec_;
  bool fixed_;
};

// A quarter of the window, as a power of two, at most 16: a query then sees 3/4 of the window or
// more.
int64_t default_grid_block(int64_t window) {
  return std::min<int64_t>(16, static_cast<int64_t>(std::bit_floor(
                                   static_cast<uint64_t>(std::max<int64_t>(1, window / 4)))));
}

LandmarkRouting routing_of(const Choices& choices) {
  if (choices.is("routing", "live", "live", "torch")) return LandmarkRouting::live;
  return choices.is("routing", "torch", "live", "torch") ? LandmarkRouting::torch
                                                         : LandmarkRouting::triton;
}

LandmarkBand band_of(const Choices& choices) {
  if (choices.is("lf_band", "pairs", "pairs", "dims")) return LandmarkBand::pairs;
  return choices.is("lf_band", "dims", "pairs", "dims") ? LandmarkBand::dims : LandmarkBand::all;
}

[[noreturn]] void fail(const std::string& key, int64_t found, const std::string& expected) {
  throw Error("method landmark", key, std::to_string(found), expected);
}

LandmarkRules rules_from(const RetentionSpec& spec, const Choices& choices, int64_t exact,
                         int64_t block) {
  LandmarkRules rules;
  rules.tau_gate = spec.number("tau_gate");
  rules.tau_novel = spec.number("tau_novel");
  rules.tau_match = spec.number("tau_match");
  rules.tau_summary = spec.number("tau_summary");
  rules.tau_merge = spec.number("tau_merge");
  // Eight of 64 tokens, for any block.
  rules.exact_candidates = choices.integer("exact_candidates", -1, (block + 7) / 8, 8);
  rules.summary_candidates = choices.integer("summary_candidates", -1, kAll, 64);
  rules.sinks = choices.integer("sinks", -1, std::min<int64_t>(4, exact), 0);
  rules.order = choices.is("candidates", "sorted", "sorted", "index") ? LandmarkOrder::sorted
                                                                      : LandmarkOrder::index;
  rules.tie = choices.is("tie", "novelty", "novelty", "position") ? LandmarkTie::novelty
                                                                  : LandmarkTie::position;
  rules.routing = routing_of(choices);
  rules.insert = choices.is("insert", "free", "free", "compete") ? LandmarkInsert::free
                                                                 : LandmarkInsert::compete;
  rules.gated_rate = choices.is("block_gate", "on", "on", "off");
  rules.refresh_on_hit = spec.text("refresh_on_hit") == "on";
  rules.overwrite_on_insert = spec.text("overwrite_on_insert") == "on";
  rules.energy_scale = choices.is("key_scale", "energy", "one", "energy");
  rules.delta_copy = choices.is("copy", "delta", "exact", "delta");
  rules.bf16_arithmetic = choices.is("arithmetic", "bf16", "f32", "bf16");
  return rules;
}

std::vector<ArgumentSpec> sizes_and_thresholds() {
  return {
      {"semantics",
       "fixed",
       0,
       0,
       {"fixed", "reference"},
       "the mechanism as described, or the published code with its quirks",
       true},
      {"window", int64_t{256}, 1, 1 << 24, {}, "slots for recent tokens", true},
      {"exact", int64_t{64}, 0, 1 << 20, {}, "slots of the exact bank", true},
      {"summary", int64_t{64}, 0, 1 << 20, {}, "slots of the summary bank", true},
      {"block",
       int64_t{0},
       0,
       1 << 24,
       {},
       "tokens evicted at a time; 0: window/4, at most 16 (fixed), 256 (reference)",
       false},
      {"sinks",
       int64_t{-1},
       -1,
       1 << 20,
       {},
       "first tokens pinned in the exact bank; -1: 4 (fixed), 0 (reference)",
       false},
      {"exact_candidates",
       int64_t{-1},
       -1,
       1 << 24,
       {},
       "of one eviction, for the exact bank; -1: block/8 (fixed), 8 (reference)",
       false},
      {"summary_candidates",
       int64_t{-1},
       -1,
       1 << 24,
       {},
       "of one eviction, for the summary bank; -1: all (fixed), 64 (reference)",
       false},
      {"tau_gate", 0.10, 0, 1, {}, "least write gate for the exact bank", false},
      {"tau_novel", 0.70, -1, 2, {}, "value cosine below which a token is novel", false},
      {"tau_match", 0.90, -1, 2, {}, "value cosine from which a token is a hit", false},
      {"tau_summary", 0.05, 0, 1, {}, "least write gate for the summary bank", false},
      {"tau_merge",
       0.90,
       -1,
       2,
       {},
       "key cosine from which a token joins an average (insert=free)",
       false},
      {"eta", kPublishedEta, 0, 1, {}, "rate of the averages where the model learned none", false},
  };
}

ArgumentSpec choice(const std::string& name, std::vector<std::string> values,
                    const std::string& help) {
  values.insert(values.begin(), kAuto);
  return {name, kAuto, 0, 0, std::move(values), help, false};
}

}  // namespace

std::vector<ArgumentSpec> landmark_argument_specs() {
  std::vector<ArgumentSpec> specs = sizes_and_thresholds();
  const std::vector<ArgumentSpec> quirks = {
      choice("schedule", {"grid", "calls"},
             "eviction at multiples of block, or counted from each call; auto: grid | calls"),
      choice("candidates", {"sorted", "index"},
             "order in which tokens are offered, by gate or by position; auto: sorted | index"),
      choice("tie", {"novelty", "position"},
             "order of equal gates (all, without a write gate); auto: novelty | position"),
      choice("routing", {"live", "torch", "triton"},
             "banks compared as they are now or as at the block's start; auto: live | torch"),
      choice("insert", {"free", "compete"},
             "summary slots open when nothing is similar, or unused ones compete; auto: free | "
             "compete"),
      choice("lf_band", {"pairs", "dims", "all"},
             "dimensions of summary keys: the slower RoPE pairs, the upper half, or all; auto: "
             "pairs | dims"),
      choice("key_scale", {"one", "energy"},
             "of summary keys: 1, or sqrt(head_dim / slow dimensions); auto: one | energy"),
      choice("block_gate", {"on", "off"},
             "rate of averages eta * gate in prefill, or eta alone; auto: on | off"),
      choice("mem_init", {"zeros", "random"}, "banks at the start; auto: zeros | random"),
      choice("copy", {"exact", "delta"},
             "exact slots written as they are or as m + (k - m); auto: exact | delta"),
      choice("arithmetic", {"f32", "bf16"},
             "averages, and all sums of the update; auto: f32 | bf16"),
      choice("state", {"lean", "published"},
             "with normalised copies and zero key halves resident; auto: lean | published"),
      {"refresh_on_hit", "off", 0, 0, on_off(), "a hit replaces the slot it hits", false},
      {"overwrite_on_insert", "on", 0, 0, on_off(), "the first token replaces a summary slot",
       false},
      choice("count_bias", {"off", "on"},
             "log of the tokens averaged, added to summary logits; auto: on | off"),
      {"seed", int64_t{0}, 0, 0x7fffffff, {}, "of mem_init=random", false},
  };
  specs.insert(specs.end(), quirks.begin(), quirks.end());
  return specs;
}

LandmarkSettings LandmarkSettings::from(const RetentionSpec& spec) {
  const bool fixed = spec.text("semantics") == "fixed";
  const Choices choices(spec, fixed);
  LandmarkSettings settings;
  settings.window = spec.integer("window");
  settings.exact = spec.integer("exact");
  settings.summary = spec.integer("summary");
  settings.schedule = choices.is("schedule", "grid", "grid", "calls") ? LandmarkSchedule::grid
                                                                      : LandmarkSchedule::calls;
  const bool grid = settings.schedule == LandmarkSchedule::grid;
  const int64_t block = spec.integer("block");
  settings.block = block > 0 ? block : grid ? default_grid_block(settings.window) : 256;
  if (grid && settings.block > settings.window) {
    fail("block", settings.block, "at most window, " + std::to_string(settings.window));
  }
  settings.rules = rules_from(spec, choices, settings.exact, settings.block);
  if (settings.rules.sinks > settings.exact) {
    fail("sinks", settings.rules.sinks, "at most exact, " + std::to_string(settings.exact));
  }
  settings.band = band_of(choices);
  settings.eta = spec.number("eta");
  settings.published_state = choices.is("state", "published", "lean", "published");
  settings.count_bias = choices.is("count_bias", "on", "on", "off");
  settings.random_banks = choices.is("mem_init", "random", "zeros", "random");
  settings.seed = static_cast<uint64_t>(spec.integer("seed"));
  return settings;
}

std::vector<int32_t> slow_dimensions(int head_dim, bool half_split_rope, LandmarkBand band) {
  std::vector<int32_t> dims;
  const int pairs = head_dim / 2;
  for (int32_t d = 0; d < head_dim; ++d) {
    const int pair = half_split_rope ? d % pairs : d / 2;
    const bool slow = band == LandmarkBand::pairs ? pair >= pairs / 2 : d >= pairs;
    if (slow || band == LandmarkBand::all) dims.push_back(d);
  }
  return dims;
}

std::vector<LandmarkBlock> landmark_blocks(const LandmarkSettings& settings, int64_t begin,
                                           int64_t end) {
  std::vector<LandmarkBlock> blocks;
  if (settings.schedule == LandmarkSchedule::grid) {
    const EvictionGrid grid{settings.window, settings.block};
    for (int64_t t = begin; t < end; t = blocks.back().end) {
      blocks.push_back({t, std::min(end, grid.segment_end(t)), grid.begin(t)});
    }
  } else if (end - begin == 1) {
    blocks.push_back({begin, end, std::max<int64_t>(0, end - settings.window)});
  } else {
    for (int64_t t = begin; t < end; t = blocks.back().end) {
      blocks.push_back(
          {t, std::min(end, t + settings.block), std::max<int64_t>(0, t - settings.window)});
    }
  }
  return blocks;
}

int64_t landmark_evicted(const LandmarkSettings& settings, int64_t end) {
  if (settings.schedule == LandmarkSchedule::calls)
    return std::max<int64_t>(0, end - settings.window);
  return end > 0 ? EvictionGrid{settings.window, settings.block}.begin(end - 1) : 0;
}

}  // namespace kvg
