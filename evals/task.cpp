#include "evals/task.h"

#include "base/error.h"
#include "base/names.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace kvg {

void Feeder::check_stop() const {
  if (stop_ != nullptr && stop_->load()) throw Interrupted();
}

template <typename Step>
void Feeder::feed(std::span<const int32_t> tokens, const Step& step) {
  for (size_t at = 0; at < tokens.size();) {
    check_stop();
    const size_t count = std::min(static_cast<size_t>(chunk_), tokens.size() - at);
    const auto start = std::chrono::steady_clock::now();
    step(tokens.subspan(at, count));
    timing_.prefill +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    timing_.prefill_tokens += static_cast<int64_t>(count);
    if (progress_ != nullptr) progress_->advance(static_cast<int64_t>(count));
    at += count;
  }
}

void Feeder::append(Sequence& sequence, std::span<const int32_t> tokens) {
  feed(tokens, [&](std::span<const int32_t> chunk) { sequence.append(chunk); });
}

template <typename Score>
std::vector<double> Feeder::collect(std::span<const int32_t> tokens, const Score& score) {
  std::vector<double> nll;
  nll.reserve(tokens.size());
  feed(tokens, [&](std::span<const int32_t> chunk) {
    const std::vector<double> part = score(chunk);
    KVG_CHECK(part.size() == chunk.size(), "one NLL a token");
    nll.insert(nll.end(), part.begin(), part.end());
  });
  return nll;
}

std::vector<double> Feeder::score(Sequence& sequence, std::span<const int32_t> tokens) {
  return collect(tokens, [&](std::span<const int32_t> chunk) { return sequence.score(chunk); });
}

std::vector<double> Feeder::score_decoding(Sequence& sequence, std::span<const int32_t> tokens) {
  const Timing before = timing_;
  std::vector<double> nll = collect(
      tokens, [&](std::span<const int32_t> chunk) { return sequence.score_decoding(chunk); });
  timing_ = before;  // tokens of decode steps are no prefill
  return nll;
}

Timing Feeder::take() { return std::exchange(timing_, {}); }

const TaskEntry& find_task(std::string_view name, std::string_view where) {
  std::vector<std::string> names;
  for (const TaskEntry& entry : task_table()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw Error(where, "task", "'" + std::string(name) + "'" + did_you_mean(name, names),
              "one of " + join(names));
}

}  // namespace kvg
