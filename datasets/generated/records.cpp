#include "datasets/generated/documents.h"

#include <array>
#include <vector>

#include <fmt/format.h>

namespace kvg {
namespace {

constexpr auto kMonths = std::to_array<const char*>(
    {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"});

std::string date(Writer& writer) {
  return fmt::format("{}-{:02d}-{:02d}", writer.between(1998, 2024), writer.between(1, 12),
                     writer.between(1, 28));
}

struct Column {
  const char* name;
  int kind;  // 0 a word of the list `name`, 1 a price, 2 a number, 3 a date, 4 yes or no
};

std::string value(Writer& writer, const Column& column) {
  switch (column.kind) {
    case 0:
      return writer.phrase(column.name);
    case 1:
      return fmt::format("{}.{:02d}", writer.between(1, 900), writer.between(0, 99));
    case 2:
      return writer.phrase("count");
    case 3:
      return date(writer);
    default:
      return writer.chance(0.5) ? "yes" : "no";
  }
}

std::vector<Column> choose_columns(Writer& writer) {
  static constexpr auto kColumns = std::to_array<Column>({{"thing", 0},
                                                          {"person", 0},
                                                          {"place", 0},
                                                          {"substance", 0},
                                                          {"animal", 0},
                                                          {"role", 0},
                                                          {"weekday", 0},
                                                          {"topic", 0},
                                                          {"price", 1},
                                                          {"quantity", 2},
                                                          {"weight", 2},
                                                          {"date", 3},
                                                          {"paid", 4}});
  std::vector<Column> columns;
  for (const Column& column : kColumns) {
    if (writer.chance(0.4)) columns.push_back(column);
  }
  if (columns.size() < 3) columns = {kColumns[0], kColumns[1], kColumns[8], kColumns[9]};
  return columns;
}

std::string log_line(Writer& writer, const std::array<std::string, 4>& services, int64_t id) {
  switch (writer.between(0, 6)) {
    case 0:
      return fmt::format("request {} from {} took {} ms", id, writer.phrase("person"),
                         writer.phrase("count"));
    case 1:
      return fmt::format("{} restarted after {} s", services[writer.below(4)],
                         writer.phrase("count"));
    case 2:
      return fmt::format("job {} done: {} {}", id, writer.phrase("count"),
                         inflect(writer.phrase("thing"), "plural"));
    case 3:
      return fmt::format("cannot open /{}/{}/{}.dat: retry {}", writer.phrase("place"),
                         writer.phrase("thing"), writer.phrase("substance"), writer.between(1, 5));
    case 4:
      return fmt::format("queue {} has {} messages", writer.phrase("thing"),
                         writer.phrase("count"));
    case 5:
      return fmt::format("{} uses {} MB, limit {} MB", services[writer.below(4)],
                         writer.phrase("count"), writer.phrase("count"));
    default:
      return fmt::format("checksum {:08x} of block {} accepted", writer.below(uint64_t{1} << 32),
                         id);
  }
}

std::string write_settings(Writer& writer) {
  std::string text = "; " + writer.sentence("fact") + "\n";
  const int64_t sections = writer.between(3, 8);
  for (int64_t i = 0; i < sections; ++i) {
    text += fmt::format("\n[{}]\n", writer.phrase("place"));
    const int64_t keys = writer.between(3, 8);
    for (int64_t k = 0; k < keys; ++k) {
      text += fmt::format("{}.{} = {}\n", writer.phrase("thing"), writer.phrase("quality"),
                          writer.chance(0.5) ? writer.phrase("count") : writer.phrase("substance"));
    }
  }
  return text;
}

}  // namespace

std::string write_table(Writer& writer) {
  const std::vector<Column> columns = choose_columns(writer);
  const bool markdown = writer.chance(0.5);
  const std::string separator = markdown ? " | " : ",";
  std::string text = markdown ? writer.sentence("fact") + "\n\n" : "";
  const int64_t rows = writer.between(14, 40);
  for (int64_t row = -1; row < rows; ++row) {
    std::string line;
    for (const Column& column : columns) {
      if (!line.empty()) line += separator;
      line += row < 0 ? column.name : value(writer, column);
    }
    text += markdown ? "| " + line + " |\n" : line + "\n";
    if (row < 0 && markdown) {
      text += '|';
      for (size_t i = 0; i < columns.size(); ++i) text += "---|";
      text += '\n';
    }
  }
  return text;
}

std::string write_log(Writer& writer) {
  if (writer.chance(0.25)) return write_settings(writer);
  std::array<std::string, 4> services;
  for (std::string& service : services) service = writer.phrase("animal") + "d";
  static constexpr auto kLevels =
      std::to_array<const char*>({"INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"});
  const bool syslog = writer.chance(0.5);
  const char* month = kMonths[writer.below(12)];
  const int64_t day = writer.between(1, 28);
  const std::string host = fmt::format("node{}", writer.between(1, 40));
  int64_t second = writer.between(0, 70000);
  int64_t id = writer.between(100, 90000);
  std::string text;
  const int64_t lines = writer.between(18, 55);
  for (int64_t i = 0; i < lines; ++i) {
    second = (second + writer.between(0, 90)) % 86400;
    id += writer.between(1, 9);
    const std::string time =
        fmt::format("{:02d}:{:02d}:{:02d}", second / 3600, second / 60 % 60, second % 60);
    const std::string& service = services[writer.below(4)];
    const std::string message = log_line(writer, services, id);
    if (syslog) {
      text += fmt::format("{} {} {} {} {}[{}]: {}\n", month, day, time, host, service,
                          100 + id % 900, message);
    } else {
      text += fmt::format("{} {:5} {}: {}\n", time, kLevels[writer.below(6)], service, message);
    }
  }
  return text;
}

}  // namespace kvg
