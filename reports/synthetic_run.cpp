#include "reports/synthetic_run.h"

#include "base/random.h"
#include "base/sha256.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace kvg::reports {

namespace {

using nlohmann::json;

constexpr int64_t kBytesPerToken = 3072;  // 6 layers, 2 KV heads of 64, bf16, keys and values
constexpr std::array<int64_t, 6> kEdges = {0, 256, 512, 1024, 2048, 4096};

class Writer {
 public:
  Writer(const std::filesystem::path& directory, const SyntheticOptions& options)
      : options_(options), directory_(directory) {
    std::filesystem::create_directories(directory);
  }

  void write() {
    items_.open(directory_ / "items.jsonl", std::ios::binary);
    for (size_t method = 0; method < options_.methods.size(); ++method) {
      perplexity(method);
      retrieval(method, "passkey", "context");
      retrieval(method, "needle", "context");
      if (method == 0 && options_.controls) {
        for (const char* condition : {"closed-book", "oracle"}) {
          retrieval(method, "passkey", condition);
          retrieval(method, "needle", condition);
        }
      }
    }
    write_run_json();
  }

 private:
  bool bounded(size_t method) const { return method != 0; }

  json bytes(size_t method, int64_t tokens) const {
    const bool quantised = options_.methods[method].find("eden") != std::string::npos;
    const int64_t slots = bounded(method) ? std::min<int64_t>(tokens, 252) : tokens;
    const int64_t half = slots * kBytesPerToken / 2;
    const int64_t scales = quantised ? slots * 48 : 0;
    const int64_t metadata = bounded(method) ? slots * 24 + 96 : 48;
    return {{"keys", half},
            {"values", half},
            {"scales", scales},
            {"metadata", metadata},
            {"total", 2 * half + scales + metadata}};
  }

  double chance(size_t method, double distance) const {
    if (options_.right) return options_.right(method, distance);
    if (method == 0) return 0.97;
    if (distance < 130) return 0.96;
    if (method + 1 == options_.methods.size()) return 0.12 * std::exp(-distance / 3000);
    if (method <= 2) return distance < 250 ? 0.95 : 0.02;
    return (method == 3 ? 0.55 : 0.86) * std::exp(-distance / (method == 3 ? 4000 : 20000));
  }

  double extra(size_t method, int64_t position) const {
    if (options_.extra_nats) return options_.extra_nats(method, position);
    if (method == 0 || position < 252) return 0;
    const double growth = std::log2(static_cast<double>(position) / 252.0);
    const double slope = method == 1                             ? 0.35
                         : method + 1 == options_.methods.size() ? 0.05
                         : method == 2                           ? 0.022
                                       : 0.012 / (static_cast<double>(method) - 2.0);
    return slope * (1 + growth);
  }

  json head(size_t method, const std::string& condition, const std::string& task, const json& cell,
            int64_t index, const std::string& group) const {
    std::string cell_text;
    for (const auto& [name, value] : cell.items()) {
      cell_text += (cell_text.empty() ? "" : ",") + name + "=" + value.dump();
    }
    return {{"key", fmt::format("{}|{}|{}|{}|{}", options_.methods[method], condition, task,
                                cell_text, index)},
            {"method", options_.methods[method]},
            {"condition", condition},
            {"task", task},
            {"cell", cell},
            {"index", index},
            {"group", group},
            {"seed", fmt::format("{:016x}", mix_seed({options_.seed, name_seed(group)}))}};
  }

  void finish_row(json row, size_t method, int64_t prompt, int64_t out) {
    row["n_prompt"] = prompt;
    row["n_out"] = out;
    row["cache_bytes"] = bytes(method, prompt + out);
    const double prefill = static_cast<double>(prompt) / (bounded(method) ? 5200.0 : 4100.0);
    row["seconds"] = {{"prefill", prefill}, {"total", prefill * 1.1}, {"prefill_tokens", prompt}};
    prefill_tokens_[method] += prompt;
    prefill_seconds_[method] += prefill;
    items_ << row.dump() << '\n';
    ++rows_;
    ++rows_of_[method];
  }

  void perplexity(size_t method) {
    for (int64_t stream = 0; stream < options_.streams; ++stream) {
      // One stream of random numbers for all methods: they read the same text.
      Random text(mix_seed({options_.seed, name_seed("text"), static_cast<uint64_t>(stream)}));
      Random own(mix_seed(
          {options_.seed, options_.outcome_seed, method + 1, static_cast<uint64_t>(stream)}));
      const double level = 2.9 + 0.2 * text.normal();
      json blocks = json::array();
      std::map<int64_t, std::pair<int64_t, double>> positions, repeats;
      double total = 0;
      for (int64_t at = 0; at < options_.stream_tokens; at += 512) {
        double block = 0;
        for (int64_t part = at; part < at + 512; part += 256) {
          const double base = level + 0.9 * std::exp(-static_cast<double>(part) / 300.0);
          const double nats = 256 * (base + 0.05 * text.normal() +
                                     extra(method, part + 128) * (1 + 0.15 * own.normal()) +
                                     options_.noise_nats * own.normal());
          block += nats;
          const auto edge = std::upper_bound(kEdges.begin(), kEdges.end(), part) - 1;
          positions[*edge].first += 256;
          positions[*edge].second += nats;
          for (const int64_t distance : {0, 16, 256, 1024}) {
            if (distance > part) continue;
            const double easier = distance == 0 ? 2.0 : distance == 16 ? -1.4 : -0.4;
            repeats[distance].first += 60;
            repeats[distance].second +=
                60 * (base + easier + (distance >= 256 ? 4 : 0.2) * extra(method, part + 128));
          }
        }
        blocks.push_back({512, block});
        total += block;
      }
      json row = head(method, "context", "perplexity",
                      {{"protocol", "stream"}, {"context", options_.stream_tokens}}, stream,
                      fmt::format("stream-{}", stream));
      row["tokens"] = options_.stream_tokens;
      row["nll"] = total;
      row["text_bytes"] = options_.stream_tokens * 3;
      row["blocks"] = blocks;
      row["positions"] = json::array();
      for (const auto& [from, sum] : positions) {
        const auto next = std::upper_bound(kEdges.begin(), kEdges.end(), from);
        row["positions"].push_back({{"from", from},
                                    {"tokens", sum.first},
                                    {"nll", sum.second},
                                    {"to", next == kEdges.end() ? 2 * from : *next}});
      }
      row["repeats"] = json::array();
      for (const auto& [from, sum] : repeats) {
        const int64_t to = from == 0 ? 0 : from == 16 ? 256 : from == 256 ? 1024 : 4096;
        row["repeats"].push_back(
            {{"from", from}, {"to", to}, {"tokens", sum.first}, {"nll", sum.second}});
      }
      finish_row(std::move(row), method, options_.stream_tokens, 0);
    }
  }

  void retrieval(size_t method, const std::string& task, const std::string& condition) {
    const bool needle = task == "needle";
    const int64_t contexts = needle ? options_.contexts_per_cell : options_.passkeys_per_cell;
    const int64_t questions = needle ? options_.questions : 1;
    for (const int64_t length : options_.lengths) {
      for (int64_t stratum = 0; stratum < options_.depths; ++stratum) {
        const double depth =
            (static_cast<double>(stratum) + 0.5) / static_cast<double>(options_.depths);
        for (int64_t index = 0; index < contexts * questions; ++index) {
          const json cell = {{"length", length}, {"depth", depth}};
          const std::string group =
              fmt::format("{}-{}-{}-{}", task, length, stratum, index / questions);
          json row = head(method, condition, task, cell, index, group);
          answer(&row, method, condition, needle, length, depth, index);
          finish_row(std::move(row), method, condition == "context" ? length - 20 : 40, 6);
        }
      }
    }
  }

  // Draws where the evidence went; returns how likely the answer is right.
  double chance_of_chain(json* row, size_t method, Random* random) const {
    const bool stored = !bounded(method) || random->uniform() < options_.chain->stored;
    const bool read = stored && random->uniform() < options_.chain->read;
    (*row)["retention"] = {{"value_tokens", 5},
                           {"layers", 2},
                           {"stored_share", {0.4, stored ? 1.0 : 0.6}},
                           {"stored", stored},
                           {"read_weight", read ? 0.6 : 0.02},
                           {"read", read}};
    return read ? options_.chain->right_when_read : options_.chain->right_when_lost;
  }

  void answer(json* row, size_t method, const std::string& condition, bool needle, int64_t length,
              double depth, int64_t index) {
    Random random(mix_seed(
        {options_.seed, options_.outcome_seed, name_seed((*row)["key"].get<std::string>())}));
    Random item(mix_seed({options_.seed, name_seed((*row)["group"].get<std::string>()),
                          static_cast<uint64_t>(index)}));
    const double distance = static_cast<double>(length) * (1 - depth);
    double right = condition == "oracle"        ? 0.99
                   : condition == "closed-book" ? 0.005
                                                : chance(method, distance);
    const uint64_t code = 10000 + item.below(89999);
    const uint64_t kind = item.below(10);
    const bool unanswerable = needle && kind == 0;
    if (unanswerable) right = condition == "closed-book" ? 0.9 : 0.5 + 0.4 * right;
    if (options_.chain && condition == "context" && !unanswerable) {
      right = chance_of_chain(row, method, &random);
    }
    const bool success = random.uniform() < right;
    const std::string expected = unanswerable ? "not stated" : std::to_string(code);
    const std::string wrong = std::to_string(10000 + random.below(89999));
    (*row)["score"] = success ? 1 : 0;
    (*row)["question"] = needle ? "What is the badge number of Ingrid <Maier>?"
                                : "What is the pass key? The pass key is";
    (*row)["expected"] = expected;
    (*row)["output"] = " " + (success ? expected : wrong) + ". Then & there\n";
    (*row)["answer"] = success ? expected : wrong;
    (*row)["gold_nll"] = success ? 0.2 : 6.5;
    (*row)["gold_tokens"] = 5;
    (*row)["truncated"] = random.uniform() < 0.1;
    (*row)["strata"]["depth"] = depth;
    if (!needle) return;
    constexpr std::array<const char*, 4> kBins = {"0", "(0,.2]", "(.2,.5]", ">.5"};
    (*row)["strata"]["kind"] = unanswerable ? "unanswerable" : kind < 4 ? "updated" : "plain";
    if (!unanswerable) (*row)["strata"]["overlap_bin"] = kBins[item.below(4)];
  }

  void write_run_json() {
    json request = {{"schema_version", 1},
                    {"suite", "synthetic"},
                    {"seed", options_.seed},
                    {"build", options_.build},
                    {"controls", {"closed-book", "oracle"}}};
    request["model"] = {{"name", "kvg-tiny (invented numbers)"},
                        {"hash", sha256(options_.model)},
                        {"tokenizer_hash", sha256("tokenizer")},
                        {"config", json::object()}};
    json methods = json::object();
    request["methods"] = json::array();
    for (size_t m = 0; m < options_.methods.size(); ++m) {
      const char* role = m == 0                             ? "reference"
                         : m + 1 == options_.methods.size() ? "control"
                                                            : "method";
      request["methods"].push_back({{"method", options_.methods[m]}, {"role", role}});
      json sizes = json::array();
      std::vector<int64_t> lengths = options_.lengths;
      lengths.push_back(options_.stream_tokens);
      for (const int64_t length : lengths) {
        json size = bytes(m, length);
        size["tokens"] = length;
        sizes.push_back(size);
      }
      methods[options_.methods[m]] = {{"bytes", sizes},
                                      {"status", "complete"},
                                      {"prefill_tokens", prefill_tokens_[m]},
                                      {"prefill_seconds", prefill_seconds_[m]},
                                      {"items", rows_of_[m]},
                                      {"failed_items", 0}};
    }
    request["tasks"] = json::array();
    for (const char* task : {"perplexity", "passkey", "needle"}) {
      request["tasks"].push_back(
          {{"task", task},
           {"version", 1},
           {"settings", {{"lengths", options_.lengths}}},
           {"data", {{{"name", "generated"}, {"sha256", sha256(task)}, {"bytes", 123456}}}}});
    }
    const json run = {{"schema_version", 1},
                      {"run_id", sha256(request.dump())},
                      {"status", "complete"},
                      {"request", request},
                      {"methods", methods},
                      {"planned_items", rows_},
                      {"seconds", 251.5},
                      {"provenance",
                       {{"tool", "kvgauge 0.1.0"},
                        {"git_commit", "0123456789abcdef0123456789abcdef01234567"},
                        {"git_dirty", false},
                        {"compiler", "GNU 12.2.0"},
                        {"build_type", "Release"},
                        {"flags", "-O3"},
                        {"cpu", "Example CPU"},
                        {"cores", 2},
                        {"os", "Linux 6.1 x86_64"},
                        {"threads", 2},
                        {"started", "2026-01-01T00:00:00Z"},
                        {"finished", "2026-01-01T00:04:12Z"},
                        {"command", {"kvgauge", "eval", "--suite", "synthetic"}}}}};
    std::ofstream(directory_ / "run.json", std::ios::binary) << run.dump(2) << '\n';
  }

  const SyntheticOptions& options_;
  std::filesystem::path directory_;
  std::ofstream items_;
  int64_t rows_ = 0;
  std::map<size_t, int64_t> rows_of_, prefill_tokens_;
  std::map<size_t, double> prefill_seconds_;
};

}  // namespace

void write_synthetic_run(const std::filesystem::path& directory, const SyntheticOptions& options) {
  Writer(directory, options).write();
}

}  // namespace kvg::reports
