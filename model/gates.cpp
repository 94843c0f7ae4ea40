#include "model/gates.h"

#include "model/session.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

namespace kvg {

namespace {

using Tokens = std::span<const int32_t>;

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  double difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
    const double d = std::fabs(static_cast<double>(a[i]) - b[i]);
    difference = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(difference, d);
  }
  return largest > 0 ? difference / largest : difference;
}

// How far a token's logit is below the best one, relative to the largest magnitude.
double behind_best(const std::vector<float>& logits, int32_t token) {
  double best = -std::numeric_limits<double>::infinity();
  double largest = 0;
  for (const float logit : logits) {
    if (!std::isfinite(logit)) return std::numeric_limits<double>::infinity();
    best = std::max(best, double{logit});
    largest = std::max(largest, std::fabs(double{logit}));
  }
  const double behind = best - logits[static_cast<size_t>(token)];
  return largest > 0 ? behind / largest : behind;
}

// The same method with room for `tokens` tokens in its window, and as many again, because a window
// may be emptied block by block.
std::string with_room(const std::string& text, int64_t tokens) {
  Method method = Method::parse(text);
  if (method.retention.arguments.contains("window")) {
    method.retention.arguments["window"] = 2 * tokens;
  }
  return method.canonical();
}

class Gates {
 public:
  Gates(const Weights& weights, Ops& ops, Tokens tokens, const GateOptions& options,
        const std::function<void(const GateResult&)>& report)
      : weights_(weights), ops_(ops), tokens_(tokens), options_(options), report_(report) {}

  void run(const std::string& text) {
    method_ = retention_only(text);
    whole();
    chunks();
    ragged();
    clone();
    decode();
    method_ = Method::parse(text).canonical();
    recorded();
    repeat();
    bytes();
  }

 private:
  // Two ways that agree up to rounding may still round a coordinate into neighbouring cells of a
  // lossy codec, so in single precision the gates that compare two ways store exactly: what comes
  // in bf16 as bf16, everything else as f32. In double precision such a coincidence does not occur,
  // and they run with the codecs as they are.
  std::string retention_only(const std::string& text) const {
    Method method = Method::parse(text);
    if (ops_.activation() != DType::f64) {
      method.window_codec = CodecSpec{rounds() ? CodecKind::bf16 : CodecKind::f32};
      method.bank_codec = method.window_codec;
    }
    return method.canonical();
  }

  bool rounds() const { return ops_.activation() == DType::bf16; }

  // How far below the best logit a token may be that the other way chose. Where activations are
  // rounded to bf16 two ways rarely agree to the last bit, and a near tie may fall either way.
  double choice_limit() const { return rounds() ? options_.tolerance : 0; }

  Session session(const std::string& method, int64_t chunk) const {
    return {weights_, ops_, Method::parse(method),
            SessionOptions{chunk, std::ssize(tokens_) + kNewTokens}};
  }

  std::vector<float> logits(const std::string& method, int64_t chunk) const {
    const Session engine = session(method, chunk);
    const auto sequence = engine.start();
    sequence->append(tokens_);
    return sequence->logits();
  }

  void give(const char* gate, double value, double limit) const {
    report_({gate, method_, value <= limit, value, limit});
  }

  // Only retention is on trial here: the full cache that is compared with uses the same codecs.
  void whole() const {
    const std::string roomy = with_room(method_, std::ssize(tokens_) + kNewTokens);
    Method full = Method::parse(roomy);
    full.retention = Method::parse("full").retention;
    full.bank_codec = full.window_codec;
    const std::string reference = full.canonical();
    const int64_t everything = std::ssize(tokens_);
    give("whole", relative_error(logits(roomy, everything), logits(reference, everything)),
         options_.tolerance);
    const Session engine = session(roomy, everything);
    const auto sequence = engine.start();
    sequence->append(tokens_);
    const auto text = sequence->generate(greedy());
    give("text", worst_choice(session(reference, everything), tokens_, text), choice_limit());
  }

  static GenerateOptions greedy() {
    GenerateOptions generate;
    generate.max_tokens = kNewTokens;
    generate.stop_at_eos = false;
    return generate;
  }

  // How far below the best logit the tokens of a greedy `text` are after `prompt` in this session,
  // relative to the largest logit: 0 when it would have written the same.
  static double worst_choice(const Session& engine, Tokens prompt, Tokens text) {
    const auto sequence = engine.start();
    sequence->append(prompt);
    double worst = 0;
    for (const int32_t token : text) {
      worst = std::max(worst, behind_best(sequence->logits(), token));
      sequence->append({&token, 1});
    }
    return worst;
  }

  void chunks() const {
    const std::vector<float> expected = logits(method_, 1);
    double worst = 0;
    for (const int64_t chunk :
         {int64_t{7}, int64_t{64}, static_cast<int64_t>(std::ssize(tokens_))}) {
      worst = std::max(worst, relative_error(logits(method_, chunk), expected));
    }
    give("chunks", worst, options_.tolerance);
  }

  void ragged() const {
    const int64_t n = std::ssize(tokens_);
    const std::array<int64_t, 4> lengths = {n, n / 3 + 1, n - 1, 5};
    std::vector<std::vector<int32_t>> prompts;
    for (const int64_t length : lengths) {
      const Tokens prompt = tokens_.first(static_cast<size_t>(length));
      prompts.emplace_back(prompt.begin(), prompt.end());
    }
    const Session engine = session(method_, 61);
    const auto together = engine.generate_batch(prompts, greedy());
    double worst = 0;
    for (size_t i = 0; i < prompts.size(); ++i) {
      worst = std::max(worst, worst_choice(engine, prompts[i], together[i]));
    }
    give("ragged", worst, choice_limit());
  }

  void clone() const {
    const Session engine = session(method_, 64);
    const size_t half = tokens_.size() / 2;
    const auto original = engine.start();
    original->append(tokens_.first(half));
    const auto copy = original->clone();
    // The copy goes astray first; the original must not notice.
    const std::vector<int32_t> astray(std::min<size_t>(tokens_.size() - half, 40), tokens_[0]);
    copy->append(astray);
    const auto second = original->clone();
    original->append(tokens_.subspan(half));
    second->append(tokens_.subspan(half));
    const std::vector<float> expected = logits(method_, 64);
    give("clone",
         std::max(relative_error(original->logits(), expected),
                  relative_error(second->logits(), expected)),
         options_.tolerance);
  }

  // Decode steps and single tokens of append() leave the same state: more of the text is read after
  // both.
  void decode() const {
    const Session engine = session(method_, 64);
    const size_t half = tokens_.size() / 2;
    const auto stepped = engine.start();
    stepped->append(tokens_.first(half));
    const std::vector<int32_t> text = stepped->generate(greedy());
    const auto appended = engine.start();
    appended->append(tokens_.first(half));
    for (size_t i = 0; i + 1 < text.size(); ++i) appended->append({&text[i], 1});
    double worst = relative_error(stepped->logits(), appended->logits());
    stepped->append(tokens_.subspan(half));
    appended->append(tokens_.subspan(half));
    worst = std::max(worst, relative_error(stepped->logits(), appended->logits()));
    give("decode", worst, options_.tolerance);
  }

  void recorded() const {
    const Session engine = session(method_, 64);
    GenerateOptions generate = greedy();
    generate.sampling = {1.0, 0.9, 3};
    const auto run = [&](bool recorded) {
      generate.recorded = recorded;
      const auto sequence = engine.start();
      sequence->append(tokens_);
      const auto text = sequence->generate(generate);
      return std::pair(text, sequence->logits());
    };
    give("recorded", run(true) == run(false) ? 0 : 1, 0);
  }

  void repeat() const { give("repeat", logits(method_, 64) == logits(method_, 64) ? 0 : 1, 0); }

  void bytes() const {
    const Session engine = session(method_, 64);
    const auto sequence = engine.start();
    sequence->append(tokens_);
    const CacheBytes formula = engine.bytes_at(sequence->length());
    give("bytes", sequence->bytes() == formula ? 0 : 1, 0);
  }

  static constexpr int64_t kNewTokens = 12;

  const Weights& weights_;
  Ops& ops_;
  Tokens tokens_;
  const GateOptions& options_;
  const std::function<void(const GateResult&)>& report_;
  std::string method_;
};

}  // namespace

void run_gates(const Weights& weights, Ops& ops, std::span<const int32_t> tokens,
               const GateOptions& options, const std::function<void(const GateResult&)>& report) {
  KVG_CHECK(tokens.size() >= 64, "gates need at least 64 tokens");
  Gates gates(weights, ops, tokens, options, report);
  for (const std::string& method : options.methods) gates.run(method);
}

double gate_tolerance(DType activation) {
  if (activation == DType::f64) return 1e-9;
  return activation == DType::f32 ? 1e-4 : 1e-1;
}

std::vector<std::string> gate_methods() {
  return {
      "full+f32",
      "window(window=40)+f32",
      "sinks(sinks=4,window=36)+f32",
      "landmark(window=32,exact=16,summary=8)+f32",
      "landmark(window=32,exact=16,summary=8,lf_band=all)+f32",
      "random(window=24,bank=16)+f32",
      "full+int8",
      "full+eden(bits=4)",
      "landmark(window=32,exact=16,summary=8)+window:f32+bank:eden(bits=4)",
  };
}

}  // namespace kvg
