#pragma once

#include "reports/page_writer.h"
#include "reports/table.h"

#include <string>
#include <vector>

namespace kvg::reports {

// Writes a document twice at once, as the body of an HTML page and as Markdown, so that both say
// the same. Figures are in the page alone; their tables are in both.
class StudyWriter {
 public:
  void header(const std::string& kicker, const std::string& title,
              const std::vector<std::pair<std::string, std::string>>& facts);
  void heading(const std::string& title);
  void subheading(const std::string& title);
  void paragraph(const std::string& text, const char* css = "");
  void list(const std::vector<std::string>& items, const char* css);
  void table(const Table& table);
  // Behind a summary that opens it on a page.
  void folded(const std::string& summary, const Table& table);
  void commands(const std::string& summary,
                const std::vector<std::pair<std::string, std::string>>& commands);
  void figure(const std::vector<std::string>& drawings, const std::string& caption);
  // Text of the study's author: paragraphs, "- " lists, `code` and **strong**.
  void markdown(const std::string& text);

  std::string take_html() { return html_.take(); }
  std::string take_markdown() { return std::move(markdown_); }

 private:
  PageWriter html_;
  std::string markdown_;
};

// That Markdown as HTML; everything else in it is text.
std::string markdown_to_html(const std::string& text);

}  // namespace kvg::reports
