#include "datasets/generated/documents.h"

#include <fmt/format.h>

namespace kvg {
namespace {

std::string paragraph(Writer& writer, std::string_view symbol, int64_t sentences) {
  std::string text;
  for (int64_t i = 0; i < sentences; ++i) {
    if (i > 0) text += ' ';
    text += writer.sentence(symbol);
  }
  return text + "\n";
}

std::string title(Writer& writer) {
  std::string text = writer.phrase("heading");
  return capitalise(text);
}

std::string steps(Writer& writer) {
  std::string text;
  const int64_t count = writer.between(4, 9);
  for (int64_t i = 1; i <= count; ++i) {
    text += fmt::format("{}. {}\n", i, writer.sentence("step"));
  }
  return text;
}

std::string bullets(Writer& writer) {
  std::string text;
  const int64_t count = writer.between(3, 8);
  for (int64_t i = 0; i < count; ++i) text += "- " + writer.phrase("np") + "\n";
  return text;
}

}  // namespace

std::string write_story(Writer& writer) {
  std::string text = title(writer) + "\n\n";
  const int64_t paragraphs = writer.between(4, 11);
  for (int64_t i = 0; i < paragraphs; ++i) {
    if (writer.chance(0.3)) {
      const int64_t lines = writer.between(2, 6);
      for (int64_t line = 0; line < lines; ++line) text += writer.sentence("speech") + "\n";
    } else {
      text += paragraph(writer, "sentence", writer.between(3, 8));
    }
    text += '\n';
  }
  text.pop_back();
  return text;
}

std::string write_article(Writer& writer) {
  std::string text = fmt::format("# {}\n\n", title(writer));
  const int64_t sections = writer.between(2, 5);
  for (int64_t i = 0; i < sections; ++i) {
    text += fmt::format("## {}\n\n", title(writer));
    text += paragraph(writer, "fact", writer.between(3, 7));
    if (writer.chance(0.3)) text += "\n" + steps(writer);
    if (writer.chance(0.25)) text += "\n" + bullets(writer);
    if (writer.chance(0.4)) text += "\n" + paragraph(writer, "sentence", writer.between(2, 4));
    text += '\n';
  }
  text.pop_back();
  return text;
}

std::string write_chat(Writer& writer) {
  std::string speakers[4];
  const auto count = static_cast<uint64_t>(writer.between(2, 4));
  for (std::string& name : speakers) name = writer.phrase("person");
  const int64_t style = writer.between(0, 2);
  int64_t minute = writer.between(7 * 60, 20 * 60);
  std::string text;
  const int64_t messages = writer.between(14, 45);
  for (int64_t i = 0; i < messages; ++i) {
    const std::string& name = speakers[writer.below(count)];
    std::string line = writer.chance(0.5) ? writer.sentence("chat") : writer.phrase("chat");
    minute += writer.between(0, 6);
    if (style == 0)
      text += fmt::format("[{:02d}:{:02d}] {}: {}\n", minute / 60 % 24, minute % 60, name, line);
    if (style == 1) text += fmt::format("<{}> {}\n", name, line);
    if (style == 2) text += fmt::format("{}: {}\n", name, line);
  }
  return text;
}

}  // namespace kvg
