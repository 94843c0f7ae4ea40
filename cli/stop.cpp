#include "cli/stop.h"

#include <csignal>

namespace kvg::cli {

std::atomic<bool>& stop_flag() {
  static std::atomic<bool> flag{false};
  return flag;
}

void install_stop_handler() {
  stop_flag();  // constructed before a signal can come
  const auto handler = [](int signal) {
    stop_flag().store(true, std::memory_order_relaxed);
    std::signal(signal, SIG_DFL);
  };
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
  std::signal(SIGPIPE, SIG_DFL);
}

}  // namespace kvg::cli
