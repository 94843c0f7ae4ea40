#pragma once

#include <filesystem>
#include <string>

namespace kvg::reports {

// Through a temporary file, so that a report is never half a report. Throws Error when it cannot be
// written.
void write_file(const std::filesystem::path& path, const std::string& content);

}  // namespace kvg::reports
