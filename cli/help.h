#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace kvg::cli {

// One line an option, so that the help of a command fits a screen: the name, its default, the help
// text. Types and ranges show up in the error when they are broken; environment twins follow one
// rule.
class ShortHelp : public CLI::Formatter {
 public:
  ShortHelp() { column_width(30); }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_items_expected_max() == 0 || option->get_default_str().empty() ||
        option->get_default_str() == "[]") {
      return "";
    }
    // A long default (a list of methods) would push its own help off the line.
    const std::string text = option->get_default_str();
    return "=" + (text.size() > 12 ? text.substr(0, 9) + "..." : text);
  }
  // Right below the usage that names them; those that are options, too, are explained there.
  std::string make_positionals(const CLI::App* app) const override {
    std::string lines;
    for (const CLI::Option* option : app->get_options()) {
      const bool alone = option->get_positional() && !option->nonpositional();
      if (alone) lines += make_option(option, /*is_positional=*/true);
    }
    return lines;
  }
};

}  // namespace kvg::cli
