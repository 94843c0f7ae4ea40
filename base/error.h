#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace kvg {

// The one exception type for everything a user can get wrong: arguments, files, configurations,
// resources. `what()` is a single line that names where, which key, what was found and what was
// expected, so that the program can print it as it is and exit.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;

  // "WHERE: KEY: found FOUND, expected EXPECTED"; empty parts are left out. Control characters in
  // any part are replaced, because the parts may come from a damaged file.
  Error(std::string_view where, std::string_view key, std::string_view found,
        std::string_view expected);
};

// Raised when the user asked the program to stop (Ctrl-C); everything finished so far is on disk.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted: finished items are saved, the same command resumes") {}
};

// One printable line, at most `limit` bytes, from arbitrary bytes.
std::string printable(std::string_view text, size_t limit = 200);

// A broken promise inside the program: says which condition, where. Never used for user input.
[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               std::string_view message);

}  // namespace kvg

// Precondition of an internal interface; stays on in release builds (it is never in an inner loop).
#define KVG_CHECK(condition, message)                                               \
  do {                                                                              \
    if (!(condition)) ::kvg::check_failed(#condition, __FILE__, __LINE__, message); \
  } while (false)
