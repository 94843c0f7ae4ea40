#pragma once

#include "base/statistics.h"

#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

// A table that HTML and Markdown share. Texts are plain; the renderers escape them.
struct Cell {
  std::string text;
  std::string detail;                // smaller, below the text: an interval, a share
  std::optional<Verdict> verdict{};  // shown as a coloured word before the text
  std::string swatch{};              // colour class of a method (palette.h), shown as a dot
  std::string note{};                // on hovering; HTML only
};

struct Column {
  std::string title;
  bool number = true;    // right-aligned
  std::string detail{};  // smaller, below the title: the unit
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as columns
  std::vector<size_t> rules{};          // rows with a line above them
};

std::string to_html(const Table& table);
std::string to_markdown(const Table& table);
// Aligned columns for a terminal, details in line; titles without theirs.
std::string to_text(const Table& table);

// "same", "worse", "better", "unclear"
std::string verdict_word(Verdict verdict);
// The word as an inline HTML element with its colour class.
std::string verdict_chip(Verdict verdict);

}  // namespace kvg::reports
