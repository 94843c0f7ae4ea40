#pragma once

#include "datasets/generated/grammar.h"

#include <string>

namespace kvg {

// One document of each kind, up to 6 KB, ending in a newline.
std::string write_story(Writer& writer);    // narrative paragraphs and direct speech
std::string write_article(Writer& writer);  // headings, facts, instructions
std::string write_chat(Writer& writer);     // a log of messages
std::string write_code(Writer& writer);     // functions in one of three languages
std::string write_table(
    Writer& writer);                    // comma-separated values, a Markdown table or an inventory
std::string write_log(Writer& writer);  // time-stamped lines of a program, or a configuration

}  // namespace kvg
