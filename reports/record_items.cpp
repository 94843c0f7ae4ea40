#include "reports/record_items.h"

#include "reports/json_fields.h"
#include "reports/line_reader.h"
#include "reports/text.h"

#include <unordered_set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

using nlohmann::json;

// A number or a string as one printed value; 512 and 512.0 are the same axis value.
std::string printed_scalar(const json& value, const Fields& fields, const std::string& key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (!value.is_number()) fields.fail(key, value, "a number or a string");
  return fmt::format("{:.6g}", value.get<double>());
}

std::map<std::string, std::string> read_scalars(const Fields& fields) {
  std::map<std::string, std::string> scalars;
  for (const auto& [name, value] : fields.json().items()) {
    scalars[name] = printed_scalar(value, fields, name);
  }
  return scalars;
}

CacheBytes read_bytes(const Fields& fields) {
  return {fields.integer("keys"), fields.integer("values"), fields.integer("scales"),
          fields.integer("metadata"), fields.integer("total")};
}

std::vector<Bucket> read_buckets(const Fields& fields, const char* key) {
  std::vector<Bucket> buckets;
  for (size_t i = 0; i < fields.array(key).size(); ++i) {
    const Fields bucket = fields.element(key, i);
    buckets.push_back({bucket.integer("from"), bucket.integer("to"), bucket.integer("tokens"),
                       bucket.number("nll")});
  }
  return buckets;
}

Likelihood read_likelihood(const Fields& fields) {
  Likelihood likelihood;
  likelihood.tokens = fields.integer("tokens", 1);
  likelihood.nll = fields.number("nll");
  if (fields.has("text_bytes")) likelihood.text_bytes = fields.integer("text_bytes", 1);
  likelihood.positions = read_buckets(fields, "positions");
  likelihood.repeats = read_buckets(fields, "repeats");
  for (const json& block : fields.array("blocks")) {
    if (!block.is_array() || block.size() != 2 || !block[0].is_number_integer() ||
        block[0].get<int64_t>() <= 0 || !block[1].is_number()) {
      fields.fail("blocks", block, "pairs [tokens, nll]");
    }
    likelihood.blocks.push_back({block[0].get<int64_t>(), block[1].get<double>()});
  }
  int64_t tokens = 0;
  for (const Block& block : likelihood.blocks) tokens += block.tokens;
  if (tokens != likelihood.tokens) {
    fields.fail("blocks", json(tokens),
                fmt::format("blocks of {} tokens in all", likelihood.tokens));
  }
  return likelihood;
}

Retention read_retention(const Fields& fields) {
  Retention retention;
  retention.value_tokens = fields.integer("value_tokens", 1);
  retention.layers = fields.integer("layers", 1);
  for (const json& share : fields.array("stored_share")) {
    if (!share.is_number() || share.get<double>() < 0 || share.get<double>() > 1) {
      fields.fail("stored_share", share, "shares from 0 to 1");
    }
    retention.stored_share.push_back(share.get<double>());
  }
  if (std::ssize(retention.stored_share) != retention.layers) {
    fields.fail("stored_share", fields.json()["stored_share"],
                fmt::format("{} shares, one a layer", retention.layers));
  }
  retention.stored = fields.boolean("stored");
  if (retention.stored != (retention.stored_layers() > 0)) {
    fields.fail("stored", fields.json()["stored"], "what stored_share says");
  }
  retention.read_weight = fields.number("read_weight");
  retention.read = fields.boolean("read");
  return retention;
}

void read_answer(const Fields& fields, Item* item) {
  item->score = fields.number("score");
  if (*item->score != 0 && *item->score != 1) {
    fields.fail("score", fields.json()["score"], "0 or 1");
  }
  item->question = fields.text("question");
  item->expected = fields.text("expected");
  item->output = fields.text("output");
  item->answer = fields.text("answer");
  item->truncated = fields.has("truncated") && fields.boolean("truncated");
  if (fields.has("gold_nll") && fields.has("gold_tokens")) {
    item->gold_nll = fields.number("gold_nll");
    item->gold_tokens = fields.integer("gold_tokens", 1);
  }
  if (fields.has("strata")) item->strata = read_scalars(fields.object("strata"));
  if (fields.has("retention")) item->retention = read_retention(fields.object("retention"));
}

Item read_item(const Fields& fields) {
  Item item;
  item.key = fields.text("key");
  item.method = fields.text("method");
  item.condition = fields.text("condition");
  item.task = fields.text("task");
  item.cell = read_scalars(fields.object("cell"));
  item.index = fields.integer("index");
  item.group = fields.text("group");
  item.seed = fields.text("seed");
  if (fields.has("error")) {
    item.error = fields.text("error");
    if (item.error.empty()) item.error = "(no message)";
    if (fields.has("strata")) item.strata = read_scalars(fields.object("strata"));
    return item;
  }
  item.n_prompt = fields.integer("n_prompt");
  item.n_out = fields.integer("n_out");
  item.cache_bytes = read_bytes(fields.object("cache_bytes"));
  if (item.task == "perplexity") {
    item.likelihood = read_likelihood(fields);
  } else {
    read_answer(fields, &item);
  }
  return item;
}

// Outputs of models are arbitrary bytes; a writer that kept them as they were is forgiven.
json parse_line(const std::string& line, const std::string& where) {
  json parsed = json::parse(line, nullptr, false);
  if (parsed.is_discarded()) parsed = json::parse(valid_utf8(line), nullptr, false);
  if (parsed.is_discarded()) throw Error(where, "", printable(line, 60), "a JSON object");
  return parsed;
}

}  // namespace

ItemLines read_items(const std::filesystem::path& path) {
  LineReader reader(path);
  ItemLines lines;
  std::unordered_set<std::string> keys;
  std::string line;
  while (reader.next(&line)) {
    if (reader.unfinished()) {
      lines.truncated_tail = true;
      break;
    }
    const std::string where = reader.where();
    const json parsed = parse_line(line, where);
    Item item = read_item(Fields(parsed, where));
    if (keys.insert(item.key).second) {
      lines.items.push_back(std::move(item));
    } else {
      ++lines.duplicates;
    }
  }
  return lines;
}

}  // namespace kvg::reports
