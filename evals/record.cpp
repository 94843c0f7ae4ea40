#include "evals/record.h"

#include "base/build_info.h"
#include "base/error.h"
#include "base/sha256.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace kvg {
namespace {

using nlohmann::json;

json to_json(const CacheBytes& bytes) {
  return {{"keys", bytes.keys},
          {"values", bytes.values},
          {"scales", bytes.scales},
          {"metadata", bytes.metadata},
          {"total", bytes.total()}};
}

json to_json(const Level& level) {
  return std::visit([](const auto& value) { return json(value); }, level);
}

json to_json(const std::vector<TokenSums>& sums) {
  json list = json::array();
  for (const TokenSums& sum : sums) {
    list.push_back({{"from", sum.from}, {"to", sum.to}, {"tokens", sum.tokens}, {"nll", sum.nll}});
  }
  return list;
}

json to_json(const RetentionResult& retention) {
  return {{"value_tokens", retention.value_tokens}, {"layers", retention.stored_share.size()},
          {"stored_share", retention.stored_share}, {"stored", retention.stored},
          {"read_weight", retention.read_weight},   {"read", retention.read}};
}

void put(const AnswerResult& answer, json* row) {
  (*row)["question"] = answer.question;
  (*row)["expected"] = answer.expected;
  (*row)["output"] = answer.output;
  (*row)["answer"] = answer.answer;
  (*row)["truncated"] = answer.truncated;
  (*row)["gold_nll"] = answer.gold_nll;
  (*row)["gold_tokens"] = answer.gold_tokens;
  if (answer.gold_span) (*row)["gold_span"] = {answer.gold_span->first, answer.gold_span->second};
  for (const auto& [name, level] : answer.strata) (*row)["strata"][name] = to_json(level);
  if (answer.retention) (*row)["retention"] = to_json(*answer.retention);
}

void put(const LikelihoodResult& result, json* row) {
  (*row)["tokens"] = result.tokens;
  (*row)["nll"] = result.nll;
  if (result.text_bytes) (*row)["text_bytes"] = *result.text_bytes;
  (*row)["positions"] = to_json(result.positions);
  (*row)["repeats"] = to_json(result.repeats);
  json blocks = json::array();
  for (const auto& [tokens, nll] : result.blocks) blocks.push_back({tokens, nll});
  (*row)["blocks"] = std::move(blocks);
}

json to_json(const RequestedTask& task) {
  json settings = json::object();
  for (const auto& [name, value] : task.settings) {
    settings[name] = std::visit([](const auto& v) { return json(v); }, value);
  }
  json data = json::array();
  for (const DataUse& use : task.data) {
    data.push_back({{"name", use.name}, {"sha256", use.sha256}, {"bytes", use.bytes}});
  }
  return {{"task", task.task}, {"version", task.version}, {"settings", settings}, {"data", data}};
}

json to_json(const Request& request) {
  json methods = json::array();
  for (const RequestedMethod& method : request.methods) {
    methods.push_back({{"method", method.method}, {"role", method.role}});
  }
  json tasks = json::array();
  for (const RequestedTask& task : request.tasks) tasks.push_back(to_json(task));
  const json config = json::parse(request.model.config_json, nullptr, false);
  return {{"schema_version", kRecordVersion},
          {"suite", request.suite},
          {"seed", request.seed},
          {"build", request.build},
          {"model",
           {{"name", request.model.name},
            {"hash", request.model.hash},
            {"tokenizer_hash", request.tokenizer_hash},
            {"config", config.is_discarded() ? json::object() : config}}},
          {"methods", std::move(methods)},
          {"controls", request.controls},
          {"tasks", std::move(tasks)}};
}

json to_json(const MethodState& state) {
  json bytes = json::array();
  for (const auto& [tokens, held] : state.bytes) {
    json entry = to_json(held);
    entry["tokens"] = tokens;
    bytes.push_back(std::move(entry));
  }
  json result = {{"bytes", std::move(bytes)},
                 {"status", state.status},
                 {"prefill_tokens", state.prefill_tokens},
                 {"prefill_seconds", state.prefill_seconds},
                 {"items", state.items},
                 {"failed_items", state.failed_items}};
  if (!state.error.empty()) result["error"] = state.error;
  return result;
}

json provenance_json(const RunState& state) {
  const BuildInfo& build = build_info();
  json result = {{"tool", "kvgauge " + build.version},
                 {"git_commit", build.commit},
                 {"git_dirty", build.dirty},
                 {"compiler", build.compiler},
                 {"flags", build.flags},
                 {"cpu", state.machine.cpu},
                 {"cores", state.machine.cores},
                 {"os", state.machine.os},
                 {"started", state.started}};
  if (!state.command.empty()) result["command"] = state.command;
  if (state.threads > 0) result["threads"] = state.threads;
  if (!state.finished.empty()) result["finished"] = state.finished;
  return result;
}

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string run_id(const Request& request) { return sha256(dump(to_json(request), -1)); }

std::string run_json(const RunState& state) {
  json methods = json::object();
  for (const auto& [name, method] : state.methods) methods[name] = to_json(method);
  json run = {{"schema_version", kRecordVersion},
              {"run_id", state.run_id},
              {"status", state.status},
              {"request", to_json(state.request)},
              {"provenance", provenance_json(state)},
              {"methods", std::move(methods)},
              {"planned_items", state.planned_items},
              {"seconds", state.seconds}};
  if (!state.error.empty()) run["error"] = state.error;
  if (state.limit > 0) run["limit"] = state.limit;
  if (!state.samples.empty()) run["samples"] = state.samples;
  return dump(run, 2) + "\n";
}

std::string run_id_of(std::string_view text, const std::string& where) {
  if (text.empty()) return "";
  const json run = json::parse(text, nullptr, false);
  if (!run.is_object() || !run.contains("run_id") || !run["run_id"].is_string()) {
    throw Error(where, "run_id", "no run record", "a folder that kvgauge wrote, or a new one");
  }
  return run["run_id"].get<std::string>();
}

std::string item_json(const ItemRow& row) {
  json cell = json::object();
  for (const auto& [axis, level] : row.item.cell) cell[axis] = to_json(level);
  json line = {{"key", item_key(row.method, row.condition, row.task, row.item)},
               {"method", row.method},
               {"condition", to_string(row.condition)},
               {"task", row.task},
               {"cell", std::move(cell)},
               {"index", row.item.index},
               {"group", row.group},
               {"seed", fmt::format("{:016x}", row.item.seed)},
               {"seconds",
                {{"prefill", row.seconds.prefill},
                 {"prefill_tokens", row.seconds.prefill_tokens},
                 {"total", row.seconds.total}}}};
  if (!row.error.empty()) {
    line["error"] = row.error;
    return dump(line, -1);
  }
  line["n_prompt"] = row.n_prompt;
  line["n_out"] = row.n_out;
  line["cache_bytes"] = to_json(row.cache_bytes);
  if (row.score) line["score"] = *row.score;
  if (row.answer) put(*row.answer, &line);
  if (row.likelihood) put(*row.likelihood, &line);
  return dump(line, -1);
}

FinishedItem finished_item(std::string_view line, const std::string& where) {
  try {
    const json row = json::parse(line);
    FinishedItem item;
    item.key = row.at("key").get<std::string>();
    item.method = row.at("method").get<std::string>();
    item.failed = row.contains("error");
    const json& seconds = row.at("seconds");
    item.seconds = {seconds.at("prefill").get<double>(),
                    seconds.at("prefill_tokens").get<int64_t>(), seconds.at("total").get<double>()};
    return item;
  } catch (const json::exception&) {
    throw Error(where, "row", printable(line, 60), "a line written by kvgauge");
  }
}

}  // namespace kvg
