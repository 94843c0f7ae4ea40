#include "base/progress.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

namespace kvg {

Progress::Progress(std::string label, int64_t total)
    : label_(std::move(label)),
      total_(total),
      active_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {
  draw(true);
}

Progress::~Progress() { finish(); }

void Progress::label(std::string text) {
  label_ = std::move(text);
  draw(false);
}

void Progress::advance(int64_t units) {
  done_ += units;
  draw(false);
}

void Progress::finish() {
  if (!active_) return;
  active_ = false;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

void Progress::draw(bool force) {
  if (!active_) return;
  const auto now = std::chrono::steady_clock::now();
  if (!force && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  if (total_ <= 0) {
    std::fprintf(stderr, "\r\033[K%.60s  %lld", label_.c_str(), static_cast<long long>(done_));
  } else {
    const double share = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
    const int filled = static_cast<int>(share * 24);
    const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                            std::string(static_cast<size_t>(24 - filled), '.');
    const std::string eta = share > 0.01 ? format_duration(elapsed / share - elapsed) : "?";
    std::fprintf(stderr, "\r\033[K[%s] %3.0f%%  %s left  %.60s", bar.c_str(), share * 100,
                 eta.c_str(), label_.c_str());
  }
  std::fflush(stderr);
}

std::string format_duration(double seconds) {
  const auto total = static_cast<int64_t>(std::max(0.0, seconds) + 0.5);
  char text[32];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%lldh%02lldm", static_cast<long long>(total / 3600),
                  static_cast<long long>(total / 60 % 60));
  } else if (total >= 60) {
    std::snprintf(text, sizeof text, "%lldm%02llds", static_cast<long long>(total / 60),
                  static_cast<long long>(total % 60));
  } else {
    std::snprintf(text, sizeof text, "%llds", static_cast<long long>(total));
  }
  return text;
}

}  // namespace kvg
