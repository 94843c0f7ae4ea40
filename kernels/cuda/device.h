#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvg::cuda {

// What a run record and a ceiling need to know of a GPU.
struct DeviceInfo {
  int index = 0;
  std::string name;
  int compute_major = 0, compute_minor = 0;
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t l2_bytes = 0;
  int64_t shared_memory_per_block = 0;  // the most a kernel may ask for
};

// Every visible GPU; empty where there is none or no driver. Never throws for that.
std::vector<DeviceInfo> devices();

}  // namespace kvg::cuda
