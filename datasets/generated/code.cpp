#include "datasets/generated/documents.h"

#include <array>
#include <cctype>

#include <fmt/format.h>

namespace kvg {
namespace {

enum class Language { kPython, kC, kScript };

// Writes functions that use the parameters, locals and earlier functions of the same file.
class Coder {
 public:
  explicit Coder(Writer& writer)
      : writer_(writer), language_(static_cast<Language>(writer.between(0, 2))) {}

  std::string file() {
    text_ = comment(writer_.sentence("fact"));
    if (language_ == Language::kC) text_ += "#include <stdio.h>\n#include <stdlib.h>\n\n";
    if (language_ == Language::kPython) text_ += "import math\nimport random\n\n";
    const int64_t constants = writer_.between(1, 4);
    for (int64_t i = 0; i < constants; ++i) constant();
    const int64_t functions = writer_.between(3, 8);
    for (int64_t i = 0; i < functions; ++i) function();
    return text_;
  }

 private:
  std::string word(std::string_view list) {
    std::string text = writer_.phrase(list);
    for (char& c : text) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    }
    return text;
  }

  std::string comment(const std::string& text) const {
    return (language_ == Language::kPython ? "# " : "// ") + text + "\n";
  }

  std::string name() {
    std::string text = word("thing");
    if (writer_.chance(0.4)) text = word("quality") + "_" + text;
    return text;
  }

  const std::string& pick(const std::vector<std::string>& options) {
    return options[writer_.below(options.size())];
  }

  std::string number() {
    return writer_.chance(0.3)
               ? fmt::format("{}.{}", writer_.between(0, 90), writer_.between(1, 99))
               : writer_.phrase("count");
  }

  std::string value() {
    if (!calls_.empty() && writer_.chance(0.2))
      return fmt::format("{}({})", pick(calls_), pick(known_));
    if (writer_.chance(0.15)) return fmt::format("\"{}\"", writer_.phrase("thing"));
    return writer_.chance(0.6) ? pick(known_) : number();
  }

  std::string condition() {
    static constexpr auto kComparisons =
        std::to_array<const char*>({"<", ">", "==", "!=", "<=", ">="});
    return fmt::format("{} {} {}", pick(known_), kComparisons[writer_.below(6)], value());
  }

  std::string end() const { return language_ == Language::kPython ? "" : ";"; }

  void line(const std::string& text) {
    text_ +=
        std::string(static_cast<size_t>(depth_) * (language_ == Language::kPython ? 4 : 2), ' ') +
        text + "\n";
  }

  void open(const std::string& head) {
    line(head + (language_ == Language::kPython ? ":" : " {"));
    ++depth_;
  }

  void close() {
    --depth_;
    if (language_ != Language::kPython) line("}");
  }

  void constant() {
    std::string text = name();
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    constants_.push_back(text);
    if (language_ == Language::kC) line(fmt::format("#define {} {}", text, number()));
    if (language_ == Language::kPython) line(fmt::format("{} = {}", text, number()));
    if (language_ == Language::kScript) line(fmt::format("const {} = {};", text, number()));
  }

  void function() {
    text_ += '\n';
    known_ = constants_;
    std::string parameters;
    const int64_t count = writer_.between(1, 3);
    for (int64_t i = 0; i < count; ++i) {
      const std::string parameter = name();
      known_.push_back(parameter);
      parameters +=
          (i > 0 ? ", " : "") + std::string(language_ == Language::kC ? "double " : "") + parameter;
    }
    const std::string called = word("verb") + "_" + word("thing");
    if (writer_.chance(0.5)) text_ += comment(writer_.sentence("step"));
    static constexpr auto kHeads = std::to_array<const char*>({"def ", "double ", "function "});
    open(fmt::format("{}{}({})", kHeads[static_cast<size_t>(language_)], called, parameters));
    const int64_t statements = writer_.between(2, 6);
    for (int64_t i = 0; i < statements; ++i) statement();
    line("return " + pick(known_) + end());
    close();
    calls_.push_back(called);
  }

  void statement() {
    const int64_t kind = writer_.between(0, depth_ < 3 ? 5 : 2);
    if (kind <= 1) return assign();
    if (kind == 2) return print();
    if (kind == 3) return loop();
    const bool python = language_ == Language::kPython;
    open(python ? "if " + condition() : "if (" + condition() + ")");
    const size_t outer = known_.size();
    statement();
    known_.resize(outer);
    close();
    if (kind == 5) {
      open("else");
      statement();
      known_.resize(outer);
      close();
    }
  }

  void assign() {
    static constexpr auto kOperators = std::to_array<const char*>({"+", "-", "*", "/", "%"});
    const std::string target = name();
    static constexpr auto kDeclare = std::to_array<const char*>({"", "double ", "let "});
    line(fmt::format("{}{} = {} {} {}{}", kDeclare[static_cast<size_t>(language_)], target,
                     pick(known_), kOperators[writer_.below(5)], value(), end()));
    known_.push_back(target);
  }

  void print() {
    const std::string what = writer_.phrase("np");
    const std::string shown = pick(known_);
    if (language_ == Language::kPython) line(fmt::format("print(\"{}\", {})", what, shown));
    if (language_ == Language::kC) line(fmt::format("printf(\"{} %g\\n\", {});", what, shown));
    if (language_ == Language::kScript) line(fmt::format("console.log(\"{}\", {});", what, shown));
  }

  void loop() {
    const std::string index = word("animal");
    const std::string limit = pick(known_);
    if (language_ == Language::kPython) open(fmt::format("for {} in range({})", index, limit));
    if (language_ == Language::kC) {
      open(fmt::format("for (int {0} = 0; {0} < {1}; ++{0})", index, limit));
    }
    if (language_ == Language::kScript) {
      open(fmt::format("for (let {0} = 0; {0} < {1}; {0}++)", index, limit));
    }
    const size_t outer = known_.size();
    known_.push_back(index);
    statement();
    known_.resize(outer);
    close();
  }

  Writer& writer_;
  Language language_;
  std::string text_;
  int depth_ = 0;
  std::vector<std::string> constants_;
  std::vector<std::string> known_;  // names in scope
  std::vector<std::string> calls_;  // functions so far
};

}  // namespace

std::string write_code(Writer& writer) { return Coder(writer).file(); }

}  // namespace kvg
