#pragma once

#include <cstdint>
#include <string>

namespace kvg {

// Bytes that this process can still allocate without being killed: MemAvailable, less where a
// control group sets a tighter limit. A large number when the system does not say.
uint64_t available_memory();

// Throws Error "WHAT: found 12.0 GB needed, expected at most 3.1 GB" when `bytes` do not fit into
// what is available: of this process, or of the memory that the caller knows about.
void require_memory(const std::string& what, uint64_t bytes);
void require_memory(const std::string& what, uint64_t bytes, uint64_t available);

// "1.5 MB", decimal units.
std::string format_bytes(uint64_t bytes);

}  // namespace kvg
