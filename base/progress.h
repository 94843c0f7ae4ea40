#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvg {

// A one-line progress bar with the estimated time left, on standard error. Silent when standard
// error is not a terminal. Not thread-safe: one owner advances it.
class Progress {
 public:
  // `total` in work units of the caller's choice (tokens, items); 0 shows a counter only.
  Progress(std::string label, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void label(std::string text);
  void advance(int64_t units);
  void finish();

 private:
  void draw(bool force);

  std::string label_;
  int64_t total_;
  int64_t done_ = 0;
  bool active_;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
};

// "1h02m", "3m20s", "12s"
std::string format_duration(double seconds);

}  // namespace kvg
