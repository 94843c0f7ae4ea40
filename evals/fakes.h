#pragma once

#include "base/error.h"
#include "evals/runner.h"
#include "model/sequence.h"
#include "model/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

// Stand-ins for the model, for tests of tasks and of the runner.
namespace kvg {

// One token a byte; BOS is 256.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    for (const int32_t token : tokens) {
      if (token < 256) text += static_cast<char>(token);
    }
    return text;
  }
  std::string piece(int32_t token) const override {
    return token < 256 ? std::string(1, static_cast<char>(token)) : "";
  }
  int64_t vocab() const override { return 257; }
  int32_t bos() const override { return 256; }
  int32_t eos() const override { return -1; }
  std::string hash() const override { return "bytes"; }
};

// How a fake continues: given what it remembers, the next token.
using NextToken = std::function<int32_t(std::span<const int32_t>)>;

// Copies what followed the last occurrence of the longest suffix of the text: a model that can look
// up and does nothing else.
inline int32_t copy_from_context(std::span<const int32_t> seen) {
  size_t best = 0;
  int32_t next = ' ';
  for (size_t end = seen.size() - 1; end > 0; --end) {
    size_t length = 0;
    while (length < end && length < 64 &&
           seen[end - 1 - length] == seen[seen.size() - 1 - length]) {
      ++length;
    }
    if (length > best) {
      best = length;
      next = seen[end];
    }
  }
  return next;
}

// By how much a token costs a fake more when it is decoded: tells the two ways of scoring apart.
inline constexpr double kDecodingNats = 0.25;

// A sequence that remembers its last `window` tokens and gives probability 0.9 to one next token.
// Watched, it has one layer, which gives `attention` to the tokens that are watched if it remembers
// them.
class FakeSequence : public Sequence {
 public:
  FakeSequence(NextToken next, int64_t window, double attention)
      : next_(std::move(next)), window_(window), attention_(attention) {}

  void append(std::span<const int32_t> tokens) override {
    for (const int32_t token : tokens) take(token);
  }
  std::vector<double> score(std::span<const int32_t> tokens) override {
    std::vector<double> nll;
    for (const int32_t token : tokens) {
      nll.push_back(-std::log(predict() == token ? 0.9 : 0.1 / 256));
      take(token);
    }
    return nll;
  }
  std::vector<double> score_decoding(std::span<const int32_t> tokens) override {
    std::vector<double> nll;
    for (const int32_t token : tokens) {
      nll.push_back(score({&token, 1}).front() + kDecodingNats);
    }
    return nll;
  }
  std::vector<int32_t> generate(const GenerateOptions& options) override {
    std::vector<int32_t> output;
    while (std::ssize(output) < options.max_tokens) {
      const int32_t token = predict();
      output.push_back(token);
      if (options.stop && options.stop(output)) break;
      seen_.push_back(token);
    }
    return output;
  }
  std::vector<float> logits() const override { return std::vector<float>(257); }
  std::unique_ptr<Sequence> clone() const override {
    auto copy = std::make_unique<FakeSequence>(*this);
    copy->watch_ = nullptr;
    return copy;
  }
  void keep_positions() override { keeps_positions_ = seen_.empty(); }
  void watch(AttentionWatch* watch) override {
    KVG_CHECK(watch == nullptr || keeps_positions_, "watch() needs keep_positions()");
    watch_ = watch;
  }
  int64_t length() const override { return std::ssize(seen_); }
  CacheBytes bytes() const override {
    const int64_t kept = std::min(window_, length());
    return {8 * kept, 8 * kept, 0, kept};
  }

 private:
  void take(int32_t token) {
    seen_.push_back(token);
    if (watch_ == nullptr || length() - 1 < watch_->from) return;
    AttentionWatch::Layer layer;
    for (const int64_t position : watch_->positions) {
      layer.held.push_back(position >= length() - window_);
      if (layer.held.back()) layer.weight = attention_;
    }
    watch_->queries.push_back({length() - 1, {layer}});
  }

  int32_t predict() const {
    const size_t kept = static_cast<size_t>(std::min(window_, length()));
    return next_(std::span(seen_).last(kept));
  }

  NextToken next_;
  int64_t window_;
  double attention_;
  std::vector<int32_t> seen_;
  bool keeps_positions_ = false;
  AttentionWatch* watch_ = nullptr;
};

class FakeSubject : public Subject {
 public:
  FakeSubject(std::string method, NextToken next, int64_t window, double attention = 0.5)
      : method_(std::move(method)),
        next_(std::move(next)),
        window_(window),
        attention_(attention) {}
  std::unique_ptr<Sequence> start() const override {
    return std::make_unique<FakeSequence>(next_, window_, attention_);
  }
  std::string method() const override { return method_; }

 private:
  std::string method_;
  NextToken next_;
  int64_t window_;
  double attention_;
};

inline constexpr int64_t kFullWindow = int64_t{1} << 40;

// Methods "full", "window(N)" and "broken"; counts the subjects it makes.
class FakeSource : public ModelSource {
 public:
  explicit FakeSource(NextToken next = &copy_from_context) : next_(std::move(next)) {
    facts_ = {"fake", std::string(64, '1'), R"({"layers": 1})", 8192, true};
  }
  const ModelFacts& facts() const override { return facts_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  std::string canonical(const std::string& method) const override {
    window_of(method);
    return method;
  }
  CacheBytes planned_bytes(const std::string& method, int64_t tokens) const override {
    const int64_t kept = std::min(tokens, window_of(method));
    return {8 * kept, 8 * kept, 0, kept};
  }
  std::unique_ptr<Subject> subject(const std::string& method, int64_t max_tokens) const override {
    ++subjects;
    if (method == "broken") throw Error("broken", "start", "a fake fault", "no fault");
    KVG_CHECK(max_tokens > 0, "a bound is needed");
    return std::make_unique<FakeSubject>(method, next_, window_of(method));
  }

  ModelFacts facts_;
  mutable int subjects = 0;

 private:
  static int64_t window_of(const std::string& method) {
    if (method == "full" || method == "broken") return kFullWindow;
    if (method.starts_with("window(")) return std::stoll(method.substr(7));
    throw Error("method", "retention", "'" + method + "'", "full or window(N)");
  }

  ByteTokenizer tokenizer_;
  NextToken next_;
};

}  // namespace kvg
