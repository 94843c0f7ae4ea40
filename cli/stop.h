#pragma once

#include <atomic>

namespace kvg::cli {

// Ctrl-C and SIGTERM ask for a clean stop; a second one ends the program at once.
void install_stop_handler();
std::atomic<bool>& stop_flag();
inline bool stop_requested() { return stop_flag().load(std::memory_order_relaxed); }

}  // namespace kvg::cli
