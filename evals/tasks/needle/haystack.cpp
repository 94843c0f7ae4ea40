#include "evals/tasks/needle/haystack.h"

#include "base/error.h"
#include "evals/tokens.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace kvg {
namespace {

constexpr int kWindowAttempts = 50;
constexpr int kFitAttempts = 6;
// Bytes read for each token wanted; a window with fewer tokens than wanted is still used.
constexpr int64_t kBytesPerToken = 6;
// How far, in tokens, a statement moves to stand where its surface belongs.
constexpr int64_t kTolerance = 48;

// A place where something may be inserted, and what stands before it.
struct Cut {
  size_t at = 0;      // byte in the window
  int64_t token = 0;  // tokens before it
  bool line = false;  // a line starts here; otherwise a sentence
};

// A window of the text that begins at a line start, of at most `bytes`.
std::string draw_window(const std::string& text, size_t bytes, Random& random) {
  const size_t spare = text.size() > bytes ? text.size() - bytes : 0;
  size_t start = spare > 0 ? random.below(spare) : 0;
  const size_t line = start == 0 ? 0 : text.find('\n', start);
  if (line != std::string::npos && line < text.size() - 1 && start > 0) start = line + 1;
  return text.substr(start, bytes);
}

bool has_any(const std::string& window, std::span<const std::string> names) {
  return std::ranges::any_of(
      names, [&](const std::string& name) { return window.find(name) != std::string::npos; });
}

std::vector<Cut> find_cuts(const std::string& window, std::span<const int64_t> ends) {
  std::vector<Cut> cuts = {{0, 0, true}};
  size_t token = 0;
  for (size_t i = 2; i < window.size(); ++i) {
    const bool line = window[i - 1] == '\n';
    const bool sentence = window[i - 1] == ' ' &&
                          std::string_view(".!?").find(window[i - 2]) != std::string_view::npos &&
                          std::isupper(static_cast<unsigned char>(window[i])) != 0;
    if (!line && !sentence) continue;
    // Tokens that end before the gap; the space belongs to the next token.
    const auto boundary = static_cast<int64_t>(line ? i : i - 1);
    while (token < ends.size() && ends[token] <= boundary) ++token;
    cuts.push_back({i, static_cast<int64_t>(token), line});
  }
  return cuts;
}

// The cut nearest to `wanted` tokens of haystack but not beyond `limit`, of the kind that suits the
// statement when there is one within tolerance.
const Cut& choose_cut(const std::vector<Cut>& cuts, int64_t wanted, int64_t limit, bool line) {
  const Cut* best = &cuts.front();
  const auto cost = [&](const Cut& cut) {
    const int64_t distance = std::abs(cut.token - wanted);
    return distance + (cut.line == line ? 0 : kTolerance);
  };
  for (const Cut& cut : cuts) {
    if (cut.token <= limit && cost(cut) < cost(*best)) best = &cut;
  }
  return *best;
}

struct Insertion {
  size_t at = 0;
  bool line = false;
  size_t statement = 0;
};

// The text with everything inserted, and where each statement stands in it, in bytes.
std::string insert(const std::string& window, const NeedleProblem& problem,
                   std::span<const Insertion> insertions,
                   std::vector<std::pair<int64_t, int64_t>>* bytes) {
  std::string result;
  size_t copied = 0;
  for (const Insertion& insertion : insertions) {
    const NeedleStatement& statement = problem.statements[insertion.statement];
    result.append(window, copied, insertion.at - copied);
    copied = insertion.at;
    const bool alone = insertion.line || statement.own_line;
    if (alone && !result.empty() && result.back() != '\n') {
      if (result.back() == ' ') result.pop_back();
      result += '\n';
    }
    const int64_t begin = std::ssize(result);
    result += statement.text;
    (*bytes)[insertion.statement] = {begin, std::ssize(result)};
    result += alone ? '\n' : ' ';
  }
  return result.append(window, copied);
}

class Filler {
 public:
  Filler(const NeedleProblem& problem, const HaystackPlan& plan, const Tokenizer& tokenizer)
      : problem_(problem), plan_(plan), tokenizer_(tokenizer) {
    for (const NeedleStatement& statement : problem.statements) {
      sizes_.push_back(std::ssize(tokenizer.encode(statement.text)) + 1);
      total_ += sizes_.back();
      longest_ = std::max(longest_, sizes_.back());
    }
    if (plan.context - plan.guard <= total_ + 1) {
      throw Error("needle", "length",
                  fmt::format("{} tokens of statements in {}", total_, plan.context - plan.guard),
                  "a greater length, a smaller guard or fewer distractors");
    }
  }

  FilledHaystack fill(const std::string& full_window) const {
    // Encoding pieces apart and together differs by a few tokens, hence the margin, which grows.
    for (int64_t margin = 2, attempt = 0; attempt < kFitAttempts; ++attempt, margin *= 3) {
      FilledHaystack result = attempt_fill(full_window, margin);
      if (fits(result)) return result;
    }
    throw Error("needle", "length", "a context that does not come out at the wanted length",
                "a text with sentences or lines, and a tokenizer that reproduces it");
  }

 private:
  // Tokens left for the haystack itself.
  int64_t room(int64_t margin) const { return plan_.context - 1 - total_ - margin; }

  FilledHaystack attempt_fill(const std::string& full_window, int64_t margin) const {
    std::string window = full_window;
    std::vector<int64_t> ends = byte_ends(tokenizer_, tokenizer_.encode(window), window);
    if (ends.empty()) throw Error("needle", "data", "text the tokenizer changes", "another text");
    if (std::ssize(ends) > room(margin)) {
      ends.resize(static_cast<size_t>(std::max<int64_t>(room(margin), 1)));
      window.resize(static_cast<size_t>(ends.back()));
      while (!window.empty() &&
             (static_cast<unsigned char>(full_window[window.size()]) & 0xC0) == 0x80) {
        window.pop_back();  // never inside a UTF-8 character
      }
    }
    FilledHaystack result;
    std::vector<std::pair<int64_t, int64_t>> bytes(problem_.statements.size());
    // A text of long words may give fewer tokens than wanted: the guard counts from where it ends.
    const int64_t evidence_room = 1 + std::ssize(ends) + total_ - plan_.guard - margin;
    const std::vector<Insertion> insertions = place(find_cuts(window, ends), evidence_room);
    result.text = insert(window, problem_, insertions, &bytes);
    result.tokens = with_bos(tokenizer_, tokenizer_.encode(result.text));
    const std::vector<int64_t> final_ends =
        byte_ends(tokenizer_, std::span(result.tokens).subspan(1), result.text);
    for (const auto& [begin, end] : bytes) {
      const auto [first, last] = token_span(final_ends, begin, end);
      result.spans.emplace_back(first + 1, last + 1);  // + 1: the BOS
    }
    return result;
  }

  // `evidence_room`: statements shall end before this token.
  std::vector<Insertion> place(const std::vector<Cut>& cuts, int64_t evidence_room) const {
    std::vector<Insertion> insertions;
    int64_t inserted = 1;  // the BOS and the statements before
    for (size_t i = 0; i < problem_.statements.size(); ++i) {
      const NeedleStatement& statement = problem_.statements[i];
      const auto depth =
          static_cast<int64_t>(statement.place * static_cast<double>(evidence_room - longest_));
      const int64_t limit = evidence_room - sizes_[i] - inserted;
      const Cut& cut =
          choose_cut(cuts, std::max<int64_t>(0, depth - inserted), limit, statement.own_line);
      insertions.push_back({cut.at, cut.line, i});
      inserted += sizes_[i];
    }
    // A line may have moved before a sentence that precedes it; what replaces an older value may
    // not.
    for (size_t i = 1; i < insertions.size(); ++i) {
      if (insertions[i].at < insertions[i - 1].at) {
        insertions[i].at = insertions[i - 1].at;
        insertions[i].line = insertions[i - 1].line;
      }
    }
    return insertions;
  }

  bool fits(const FilledHaystack& result) const {
    const int64_t length = std::ssize(result.tokens);
    return length <= plan_.context && std::ranges::all_of(result.spans, [&](const auto& span) {
             return span.second + plan_.guard <= length;
           });
  }

  const NeedleProblem& problem_;
  const HaystackPlan& plan_;
  const Tokenizer& tokenizer_;
  std::vector<int64_t> sizes_;  // of the statements, in tokens
  int64_t total_ = 0;
  int64_t longest_ = 0;
};

}  // namespace

FilledHaystack fill_haystack(const std::string& text, const NeedleProblem& problem,
                             const HaystackPlan& plan, const Tokenizer& tokenizer, uint64_t seed) {
  const Filler filler(problem, plan, tokenizer);
  Random random(seed);
  const auto bytes = static_cast<size_t>(plan.context * kBytesPerToken);
  for (int attempt = 0; attempt < kWindowAttempts; ++attempt) {
    const std::string window = draw_window(text, bytes, random);
    if (!has_any(window, problem.entities)) return filler.fill(window);
  }
  throw Error("needle", "data", "a text full of the names that the task uses", "another text");
}

}  // namespace kvg
