#include "evals/tasks/perplexity/perplexity.h"

#include "base/error.h"
#include "datasets/text.h"
#include "evals/ranges.h"
#include "evals/tokens.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>

#include <fmt/format.h>

namespace kvg {
namespace {

constexpr int64_t kBlockTokens = 512;
// Of a generated text, which has no end of its own, when nothing else is asked for.
constexpr int64_t kGeneratedTokens = 16384;
// Bytes of text a token may stand for, to read enough of a generated text or of a large file.
constexpr int64_t kBytesPerToken = 8;
constexpr int64_t kMaxDistance = int64_t{1} << 40;

// Positions 0-256, 256-512, 512-1k, ...; distances 1-64, 64-256, 256-1k, ...
std::pair<int64_t, int64_t> range_of(int64_t value, int64_t first_edge, int64_t factor) {
  int64_t to = first_edge;
  int64_t from = 0;
  while (value >= to && to < kMaxDistance) {
    from = to;
    to *= factor;
  }
  return {from, to};
}

void add(std::map<std::pair<int64_t, int64_t>, TokenSums>* sums, std::pair<int64_t, int64_t> range,
         double nll) {
  TokenSums& sum = (*sums)[range];
  sum.from = range.first;
  sum.to = range.second;
  ++sum.tokens;
  sum.nll += nll;
}

std::vector<TokenSums> listed(const std::map<std::pair<int64_t, int64_t>, TokenSums>& sums) {
  std::vector<TokenSums> list;
  for (const auto& [range, sum] : sums) list.push_back(sum);
  return list;
}

class Perplexity : public Task {
 public:
  Perplexity(const Settings& settings, const TaskEnvironment& environment)
      : tokenizer_(environment.tokenizer), seed_(environment.seed) {
    read_text(settings);
    const int64_t chosen = settings.count("context");
    const int64_t context = chosen > 0 ? chosen : environment.context;
    if (context < 2) {
      throw Error(settings.where("context"), "perplexity.context", std::to_string(context),
                  "at least 2, because the model does not say what it was trained for");
    }
    for (const bool decode : {false, true}) {
      if (std::ranges::count(settings.words("feed"), decode ? "decode" : "prefill") == 0) continue;
      for (const std::string& protocol : settings.words("protocol")) {
        add_series(protocol, context, decode, environment.context, settings);
      }
    }
  }

  std::vector<ItemGroup> plan() const override {
    std::vector<ItemGroup> groups;
    for (const Series& series : series_) {
      for (int64_t i = 0; i < std::ssize(series.passes); ++i) {
        const TextPass& pass = series.passes[static_cast<size_t>(i)];
        ItemGroup group;
        group.name = fmt::format("{}{}/{}", series.protocol, series.decode ? "/decode" : "", i);
        group.items = {{series.cell, i, item_seed(seed_, "perplexity", series.cell, i)}};
        group.length = pass.end - pass.begin + 1;
        group.ordinal = i;
        group.cost = group.length;
        groups.push_back(std::move(group));
      }
    }
    return groups;
  }

  bool has(Condition condition) const override { return condition == Condition::kContext; }

  std::vector<int64_t> lengths() const override {
    std::vector<int64_t> lengths;
    for (const Series& series : series_) lengths.push_back(series.longest);
    return lengths;
  }

  std::vector<DataUse> data() const override { return {data_}; }

  std::vector<ItemRow> run(const ItemGroup& group, Condition /*condition*/, const Subject& subject,
                           Feeder& feeder) const override {
    const auto series = std::ranges::find(series_, group.items.front().cell, &Series::cell);
    const TextPass pass = series->passes[static_cast<size_t>(group.ordinal)];
    const std::span<const int32_t> all(tokens_);
    const auto part = [&](int64_t begin, int64_t end) {
      return all.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    };
    const std::unique_ptr<Sequence> sequence = subject.start();
    feeder.append(*sequence, with_bos(*tokenizer_, part(pass.begin, pass.scored)));
    const std::span<const int32_t> scored = part(pass.scored, pass.end);
    const std::vector<double> nll =
        series->decode ? feeder.score_decoding(*sequence, scored) : feeder.score(*sequence, scored);

    ItemRow row;
    row.item = group.items.front();
    row.group = group.name;
    row.n_prompt = sequence->length();
    row.cache_bytes = sequence->bytes();
    row.seconds = feeder.take();
    row.likelihood = summarise(pass, nll);
    return {row};
  }

 private:
  // The text under one protocol, fed in one way.
  struct Series {
    std::string protocol;
    bool decode = false;
    Cell cell;
    std::vector<TextPass> passes;
    int64_t longest = 0;
  };

  void add_series(const std::string& protocol, int64_t context, bool decode, int64_t trained,
                  const Settings& settings) {
    Series series{protocol, decode, {{"protocol", protocol}, {"context", context}}, {}, 0};
    // Prefill was all there was: its cells, and so the keys of its rows, stay what they were.
    if (decode) series.cell.emplace_back("feed", std::string("decode"));
    int64_t tokens = std::ssize(tokens_);
    if (const int64_t fewer = settings.count("decode_tokens"); decode && fewer > 0) {
      tokens = std::min(tokens, fewer);
    }
    series.passes = text_passes(protocol, context, tokens, settings.where("protocol"));
    for (const TextPass& pass : series.passes) {
      series.longest = std::max(series.longest, pass.end - pass.begin + 1);
    }
    const int64_t wanted = protocol == "stream" ? context : series.longest;
    if (trained > 0 && wanted > trained && settings.word("beyond") == "off") {
      throw Error(settings.where("context"), "perplexity." + protocol,
                  fmt::format("{} tokens", wanted),
                  fmt::format("at most the model's context of {} (or beyond=on)", trained));
    }
    series_.push_back(std::move(series));
  }

  void read_text(const Settings& settings) {
    const std::string& source = settings.word("data");
    const int64_t chosen = settings.count("tokens");
    const int64_t limit = chosen == 0 && source == "generated" ? kGeneratedTokens : chosen;
    Text text = load_text(source, limit * kBytesPerToken, seed_);
    data_ = {text.name, text.sha256, static_cast<int64_t>(text.content.size())};
    if (limit > 0 && std::ssize(text.content) > limit * kBytesPerToken) {
      // A file of gigabytes is not tokenised for its first thousand tokens.
      const size_t space =
          text.content.find_first_of(" \n", static_cast<size_t>(limit * kBytesPerToken));
      text.content.resize(std::min(space, text.content.size()));
    }
    tokens_ = tokenizer_->encode(text.content);
    ends_ = byte_ends(*tokenizer_, tokens_, text.content);
    if (limit > 0 && std::ssize(tokens_) > limit) {
      tokens_.resize(static_cast<size_t>(limit));
      if (!ends_.empty()) ends_.resize(static_cast<size_t>(limit));
    }
  }

  LikelihoodResult summarise(const TextPass& pass, std::span<const double> nll) const {
    LikelihoodResult result;
    result.tokens = pass.end - pass.scored;
    std::map<std::pair<int64_t, int64_t>, TokenSums> positions, repeats;
    std::unordered_map<int32_t, int64_t> last_seen;
    for (int64_t i = pass.begin; i < pass.end; ++i) {
      const int32_t token = tokens_[static_cast<size_t>(i)];
      const auto seen = last_seen.find(token);
      if (i >= pass.scored) {
        const double value = nll[static_cast<size_t>(i - pass.scored)];
        const bool first_time = seen == last_seen.end();
        result.nll += value;
        add(&positions, range_of(i - pass.begin + 1, 256, 2), value);  // + 1: the BOS before it
        add(&repeats,
            first_time ? std::pair<int64_t, int64_t>{0, 0}
                       : nonzero(range_of(i - seen->second, 64, 4)),
            value);
        if (result.blocks.empty() || result.blocks.back().first == kBlockTokens) {
          result.blocks.emplace_back(0, 0);
        }
        ++result.blocks.back().first;
        result.blocks.back().second += value;
      }
      last_seen[token] = i;
    }
    result.positions = listed(positions);
    result.repeats = listed(repeats);
    if (!ends_.empty()) {
      const int64_t before = pass.scored == 0 ? 0 : ends_[static_cast<size_t>(pass.scored - 1)];
      result.text_bytes = ends_[static_cast<size_t>(pass.end - 1)] - before;
    }
    return result;
  }

  // Distances start at 1; [0, 0) is kept for tokens that had not occurred.
  static std::pair<int64_t, int64_t> nonzero(std::pair<int64_t, int64_t> range) {
    return {std::max<int64_t>(range.first, 1), range.second};
  }

  const Tokenizer* tokenizer_;
  uint64_t seed_;
  DataUse data_;
  std::vector<int32_t> tokens_;
  std::vector<int64_t> ends_;  // in bytes; empty: unknown
  std::vector<Series> series_;
};

}  // namespace

std::span<const SettingSpec> perplexity_settings() {
  static const std::array<SettingSpec, 7> specs = {{
      {"data", std::string("generated"), "generated, wikitext2 or a text file", 0, 0, {}},
      {"tokens", int64_t{0}, "scored at most; 0: a whole file, 16k generated", 0, 1e12, {}},
      {"protocol", std::vector<std::string>{"stream"}, "stream, window(N), stride(N,s)", 0, 0, {}},
      {"context", int64_t{0}, "length of a stream, BOS included; 0: the model's", 0, 1e9, {}},
      {"beyond", std::string("off"), "on: contexts beyond the model's too", 0, 0, {"off", "on"}},
      {"feed",
       std::vector<std::string>{"prefill"},
       "prefill (in chunks) and decode (one step a token)",
       0,
       0,
       {"prefill", "decode"}},
      {"decode_tokens", int64_t{0}, "of them scored by decoding; 0: all", 0, 1e12, {}},
  }};
  return specs;
}

std::vector<TextPass> text_passes(const std::string& protocol, int64_t context, int64_t tokens,
                                  const std::string& where) {
  const auto bad = [&] {
    return Error(where, "protocol", "'" + protocol + "'",
                 "stream, window(N) or stride(N,s) with N >= 2 and 1 <= s < N");
  };
  int64_t window = context;
  int64_t stride = context - 1;
  bool overlap = false;
  if (protocol != "stream") {
    const size_t open = protocol.find('(');
    if (open == std::string::npos || protocol.back() != ')') throw bad();
    const std::string name = protocol.substr(0, open);
    const std::vector<int64_t> numbers =
        parse_counts(protocol.substr(open + 1, protocol.size() - open - 2), where, "protocol");
    if (numbers.size() != (name == "window" ? 1U : 2U) || (name != "window" && name != "stride")) {
      throw bad();
    }
    window = numbers[0];
    overlap = name == "stride";
    stride = name == "window" ? window - 1 : numbers[1];
  }
  if (window < 2 || stride < 1 || stride >= window) throw bad();
  std::vector<TextPass> passes;
  for (int64_t end = 0; end < tokens;) {
    TextPass pass;
    pass.scored = end;
    pass.end = std::min(tokens, end == 0 ? window - 1 : end + stride);
    // A strided pass sees as much as fits before what it scores; the others see nothing.
    pass.begin = overlap ? std::max<int64_t>(0, pass.end - (window - 1)) : pass.scored;
    end = pass.end;
    passes.push_back(pass);
  }
  return passes;
}

std::unique_ptr<Task> make_perplexity(const Settings& settings,
                                      const TaskEnvironment& environment) {
  return std::make_unique<Perplexity>(settings, environment);
}

}  // namespace kvg
