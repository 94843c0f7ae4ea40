#pragma once

#include <cctype>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kvg::reports {

inline size_t count_of(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
  return count;
}

// What is ill-formed in a page or drawing: tags that do not balance, a bare & or <, attributes
// without quotes, an id used twice. "" when nothing is.
inline std::string markup_error(std::string_view text) {
  static const std::set<std::string, std::less<>> kVoid = {"meta", "br", "hr", "img", "link"};
  std::vector<std::string> open;
  std::set<std::string> ids;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '&') {
      const size_t end = text.find(';', at);
      if (end == text.npos || end - at > 7) return "bare & at " + std::string(text.substr(at, 30));
    }
    if (text[at] == '>') return "bare > at " + std::string(text.substr(at, 30));
    if (text[at] != '<') continue;
    size_t end = at + 1;
    for (bool quoted = false; end < text.size() && (quoted || text[end] != '>'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '<') return "bare < at " + std::string(text.substr(at, 30));
    }
    if (end >= text.size()) return "unclosed tag " + std::string(text.substr(at, 30));
    const std::string_view tag = text.substr(at + 1, end - at - 1);
    at = end;
    if (tag.starts_with("!")) continue;
    const bool closing = tag.starts_with("/");
    size_t length = closing ? 1 : 0;
    while (length < tag.size() && std::isalnum(static_cast<unsigned char>(tag[length]))) ++length;
    const std::string name(tag.substr(closing ? 1 : 0, length - (closing ? 1 : 0)));
    if (name.empty()) return "tag without a name: " + std::string(tag);
    if (const size_t id = tag.find(" id=\""); id != tag.npos) {
      const size_t begin = id + 5;
      if (!ids.emplace(tag.substr(begin, tag.find('"', begin) - begin)).second) {
        return "id twice in " + std::string(tag);
      }
    }
    if (closing) {
      if (open.empty() || open.back() != name) return "unbalanced </" + name + ">";
      open.pop_back();
    } else if (!tag.ends_with("/") && !kVoid.contains(name)) {
      open.push_back(name);
      if (name == "style") {  // its text is not markup
        at = text.find("</style>", at) - 1;
      }
    }
  }
  return open.empty() ? "" : "open at the end: " + open.back();
}

}  // namespace kvg::reports
