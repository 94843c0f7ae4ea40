#include "reports/study/study_writer.h"

#include "base/names.h"
#include "reports/text.h"

#include <algorithm>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// `code` and **strong** of escaped text; a marker without its partner stays as it is.
std::string inline_html(std::string_view text) {
  const std::string escaped = escape_html(text);
  std::string out;
  for (size_t at = 0; at < escaped.size();) {
    const bool code = escaped[at] == '`', strong = escaped.compare(at, 2, "**") == 0;
    const std::string marker = code ? "`" : "**";
    const size_t begin = at + marker.size();
    const size_t end = code || strong ? escaped.find(marker, begin) : std::string::npos;
    if (end == std::string::npos || end == begin) {
      out += escaped[at++];
      continue;
    }
    const char* tag = code ? "code" : "b";
    out += fmt::format("<{0}>{1}</{0}>", tag, escaped.substr(begin, end - begin));
    at = end + marker.size();
  }
  return out;
}

}  // namespace

std::string markdown_to_html(const std::string& text) {
  std::string out, paragraph;
  bool in_list = false;
  const auto flush = [&] {
    if (paragraph.empty()) return;
    out += fmt::format("<{0}>{1}</{0}>\n", in_list ? "li" : "p", inline_html(paragraph));
    paragraph.clear();
  };
  const auto leave_list = [&] {
    flush();
    if (in_list) out += "</ul>\n";
    in_list = false;
  };
  for (const std::string& raw : split(text, '\n')) {
    const std::string_view line = trim(raw);
    if (line.empty()) {
      leave_list();
    } else if (line.starts_with("- ")) {
      if (!in_list) leave_list();
      flush();
      if (!in_list) out += "<ul>\n";
      in_list = true;
      paragraph = trim(line.substr(2));
    } else {
      paragraph += (paragraph.empty() ? "" : " ") + std::string(line);
    }
  }
  leave_list();
  return out;
}

void StudyWriter::header(const std::string& kicker, const std::string& title,
                         const std::vector<std::pair<std::string, std::string>>& facts) {
  html_.header(kicker, title, facts);
  markdown_ += fmt::format("# {}\n\n", markdown_cell(title));
  std::vector<std::string> words;
  for (const auto& [name, value] : facts) words.push_back(name + " " + value);
  markdown_ += markdown_cell(join(words)) + "\n\n";
}

void StudyWriter::heading(const std::string& title) {
  html_.heading(title);
  markdown_ += fmt::format("## {}\n\n", markdown_cell(title));
}

void StudyWriter::subheading(const std::string& title) {
  html_.subheading(title);
  markdown_ += fmt::format("### {}\n\n", markdown_cell(title));
}

void StudyWriter::paragraph(const std::string& text, const char* css) {
  html_.paragraph(text, css);
  markdown_ += markdown_cell(text) + "\n\n";
}

void StudyWriter::list(const std::vector<std::string>& items, const char* css) {
  html_.list(items, css);
  for (const std::string& item : items) markdown_ += fmt::format("- {}\n", markdown_cell(item));
  if (!items.empty()) markdown_ += "\n";
}

void StudyWriter::table(const Table& table) {
  if (table.rows.empty()) return;
  html_.raw(to_html(table));
  markdown_ += to_markdown(table) + "\n";
}

void StudyWriter::folded(const std::string& summary, const Table& table) {
  if (table.rows.empty()) return;
  html_.raw(fmt::format("<details><summary>{}</summary>\n{}</details>\n", escape_html(summary),
                        to_html(table)));
  markdown_ += fmt::format("**{}**\n\n{}\n", markdown_cell(summary), to_markdown(table));
}

void StudyWriter::commands(const std::string& summary,
                           const std::vector<std::pair<std::string, std::string>>& commands) {
  if (commands.empty()) return;
  html_.raw(fmt::format("<details><summary>{}</summary>\n", escape_html(summary)));
  markdown_ += fmt::format("**{}**\n\n", markdown_cell(summary));
  for (const auto& [name, command] : commands) {
    std::string line = shorten(valid_utf8(command), 2000);
    std::replace(line.begin(), line.end(), '\n', ' ');
    html_.raw(fmt::format("<p class=\"note\">{}</p>\n<pre>{}</pre>\n", escape_html(name),
                          escape_html(line)));
    markdown_ += fmt::format("{}\n\n    {}\n\n", markdown_cell(name), line);
  }
  html_.raw("</details>\n");
}

void StudyWriter::figure(const std::vector<std::string>& drawings, const std::string& caption) {
  html_.figure(drawings, caption);
}

void StudyWriter::markdown(const std::string& text) {
  html_.raw(markdown_to_html(text));
  markdown_ += std::string(trim(valid_utf8(text))) + "\n\n";
}

}  // namespace kvg::reports
