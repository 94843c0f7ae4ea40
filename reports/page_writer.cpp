#include "reports/page_writer.h"

#include "reports/page_style.h"
#include "reports/text.h"

#include <fmt/format.h>

namespace kvg::reports {

void PageWriter::heading(const std::string& title) {
  out_ += fmt::format("<h2>{}</h2>\n", escape_html(title));
}

void PageWriter::subheading(const std::string& title) {
  out_ += fmt::format("<h3>{}</h3>\n", escape_html(title));
}

void PageWriter::paragraph(const std::string& text, const char* css) {
  out_ += fmt::format("<p{}>{}</p>\n", *css != '\0' ? fmt::format(" class=\"{}\"", css) : "",
                      escape_html(text));
}

void PageWriter::figure(const std::vector<std::string>& drawings, const std::string& caption) {
  std::string inside;
  for (const std::string& drawing : drawings) {
    if (!drawing.empty()) inside += drawings.size() > 1 ? "<div>" + drawing + "</div>" : drawing;
  }
  if (inside.empty()) return;
  out_ += fmt::format(
      "<figure>{}{}{}<figcaption><b>Figure {}.</b> {}</figcaption></figure>\n",
      drawings.size() > 1
          ? fmt::format("<div class=\"{}\">", drawings.size() % 3 == 0 ? "trio" : "pair")
          : "",
      inside, drawings.size() > 1 ? "</div>" : "", ++figures_, escape_html(caption));
}

void PageWriter::list(const std::vector<std::string>& items, const char* css) {
  if (items.empty()) return;
  out_ += fmt::format("<ul class=\"{}\">\n", css);
  for (const std::string& item : items) out_ += fmt::format("<li>{}</li>\n", escape_html(item));
  out_ += "</ul>\n";
}

void PageWriter::header(const std::string& kicker, const std::string& title,
                        const std::vector<std::pair<std::string, std::string>>& facts) {
  out_ += fmt::format("<header><p class=\"kicker\">{}</p>\n<h1>{}</h1>\n<p class=\"meta\">",
                      escape_html(kicker), escape_html(title));
  for (const auto& [name, value] : facts) {
    out_ += fmt::format("<span>{} <b>{}</b></span>", escape_html(name), escape_html(value));
  }
  out_ += "</p></header>\n<main>\n";
}

void PageWriter::incomplete(const std::string& why) {
  out_ += fmt::format(
      "<p class=\"banner\"><b>INCOMPLETE</b> {}. Every number below is of the "
      "items that are there.</p>\n",
      escape_html(why));
}

std::string html_document(const std::string& title, const std::string& body,
                          const std::string& footer) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         escape_html(title) + "</title>\n<style>\n" + page_style() + "</style>\n</head>\n<body>\n" +
         body + "</main>\n<footer>" + escape_html(footer) + "</footer>\n</body>\n</html>\n";
}

std::string printed_time(const std::string& iso) {
  if (iso.size() != 20 || iso[10] != 'T' || iso[19] != 'Z') return iso;
  return iso.substr(0, 10) + " " + iso.substr(11, 5) + " UTC";
}

}  // namespace kvg::reports
