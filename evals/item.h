#pragma once

#include "model/sequence.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kvg {

// What an item is asked under. Every method runs `context`; the others are floor and ceiling, run
// with the reference method only.
enum class Condition {
  kContext,     // the whole prompt
  kClosedBook,  // the question alone
  kOracle,      // the gold evidence and the question, nothing else
};
inline constexpr std::array kConditions = {Condition::kContext, Condition::kClosedBook,
                                           Condition::kOracle};
std::string_view to_string(Condition condition);

// A value of a cell or a stratum.
using Level = std::variant<int64_t, double, std::string>;
std::string to_string(const Level& level);

// The axes of a task's grid, in the task's order: {{"length", 4096}, {"depth", 0.25}}.
using Cell = std::vector<std::pair<std::string, Level>>;

// One planned item. Cell and index identify it within the task and decide its seed, so that it
// stays the same when other items come or go.
struct Item {
  Cell cell;
  int64_t index = 0;
  uint64_t seed = 0;
};

// Items that share one context, which is taken in once.
struct ItemGroup {
  std::string name;
  std::vector<Item> items;
  uint64_t seed = 0;
  int64_t length = 0;   // of the context, in tokens
  int64_t ordinal = 0;  // among the groups of its length
  int64_t cost = 0;     // tokens to process, for progress
};

// Sums over scored tokens of one range of positions or distances, [from, to).
struct TokenSums {
  int64_t from = 0;
  int64_t to = 0;
  int64_t tokens = 0;
  double nll = 0;  // nats
};

// What a probe saw of the gold value.
struct RetentionResult {
  int64_t value_tokens = 0;
  std::vector<double> stored_share;  // [layers]
  bool stored = false;
  double read_weight = 0;
  bool read = false;
};

struct AnswerResult {
  std::string question;
  std::string expected;
  std::string output;
  std::string answer;
  bool truncated = false;
  double gold_nll = 0;  // nats, the whole gold answer
  int64_t gold_tokens = 0;
  std::optional<std::pair<int64_t, int64_t>> gold_span;  // tokens of the prompt, [begin, end)
  std::map<std::string, Level> strata;
  std::optional<RetentionResult> retention;
};

struct LikelihoodResult {
  int64_t tokens = 0;
  double nll = 0;                     // nats
  std::optional<int64_t> text_bytes;  // of the scored text
  std::vector<TokenSums> positions;
  std::vector<TokenSums> repeats;
  std::vector<std::pair<int64_t, double>> blocks;  // tokens, nats
};

struct Timing {
  double prefill = 0;  // seconds in taking tokens in
  int64_t prefill_tokens = 0;
  double total = 0;
};

// One line of items.jsonl; reports/SCHEMA.md says what each field means.
struct ItemRow {
  std::string method;
  Condition condition = Condition::kContext;
  std::string task;
  Item item;
  std::string group;
  int64_t n_prompt = 0;
  int64_t n_out = 0;
  std::optional<double> score;
  std::optional<AnswerResult> answer;
  std::optional<LikelihoodResult> likelihood;
  CacheBytes cache_bytes;
  Timing seconds;
  std::string error;  // not empty: the item failed
};

// "length=4096,depth=0.25"
std::string cell_name(const Cell& cell);

// Unique in a run: "method|condition|task|cell|index".
std::string item_key(std::string_view method, Condition condition, std::string_view task,
                     const Item& item);

// The seed of an item: master seed, task, cell, index.
uint64_t item_seed(uint64_t master, std::string_view task, const Cell& cell, int64_t index);

}  // namespace kvg
