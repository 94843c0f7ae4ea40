#include "reports/charts/svg.h"

#include "reports/text.h"

#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

std::string coordinate(double value) {
  std::string text = fmt::format("{:.2f}", std::isfinite(value) ? value : 0.0);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

double text_width(std::string_view text, double size) {
  double units = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;
    if (std::string_view("iljtfr.,:;|!'()[] ").find(c) != std::string_view::npos) {
      units += 0.38;
    } else if (std::string_view("mwMWQO@%").find(c) != std::string_view::npos) {
      units += 0.9;
    } else {
      units += 0.62;
    }
  }
  return units * size;
}

Svg::Svg(double width, double height, std::string_view label) {
  out_ = fmt::format(
      "<svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
      "aria-label=\"{2}\">\n",
      coordinate(width), coordinate(height), escape_html(label));
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view classes) {
  out_ += fmt::format("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", classes,
                      coordinate(x1), coordinate(y1), coordinate(x2), coordinate(y2));
}

void Svg::rect(double x, double y, double width, double height, std::string_view classes,
               std::string_view extra) {
  out_ +=
      fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {}/>\n", classes,
                  coordinate(x), coordinate(y), coordinate(width), coordinate(height), extra);
}

void Svg::path(std::string_view data, std::string_view classes, std::string_view extra) {
  out_ += fmt::format("<path class=\"{}\" d=\"{}\" {}/>\n", classes, data, extra);
}

void Svg::text(double x, double y, std::string_view content, std::string_view classes,
               std::string_view anchor) {
  out_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n",
                      classes, coordinate(x), coordinate(y), anchor, escape_html(content));
}

void Svg::vertical_text(double x, double y, std::string_view content, std::string_view classes) {
  out_ += fmt::format(
      "<text class=\"{}\" transform=\"translate({} {}) rotate(-90)\" text-anchor=\"middle\">"
      "{}</text>\n",
      classes, coordinate(x), coordinate(y), escape_html(content));
}

void Svg::open(std::string_view classes, std::string_view tooltip) {
  out_ += fmt::format("<g class=\"{}\">", classes);
  if (!tooltip.empty()) out_ += fmt::format("<title>{}</title>", escape_html(tooltip));
  out_ += '\n';
}

void Svg::close() { out_ += "</g>\n"; }

std::string Svg::finish() { return std::move(out_) + "</svg>\n"; }

}  // namespace kvg::reports
