#pragma once

#include <cstdint>
#include <string>

namespace kvg {

// Bytes that this process can still allocate without being killed: MemAvailable, less where a
// control group sets a tighter limit. A large number when the system does not say.
uint64_t available_memory();

// Throws Error "WHAT: found 12.0 GB needed, expected at most 3.1 GB" when `bytes` do not fit.
void require_memory(const std::string& what, uint64_t bytes);

// "1.5 MB", decimal units.
std::string format_bytes(uint64_t bytes);

}  // namespace kvg
