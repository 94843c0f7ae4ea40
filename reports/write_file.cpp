#include "reports/write_file.h"

#include "base/error.h"

#include <fstream>
#include <system_error>

namespace kvg::reports {

void write_file(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::path temporary = path;
  temporary += ".part";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, path, error);
  if (file.fail() || error) {
    std::filesystem::remove(temporary, error);
    throw Error(path.string(), "", "an error on writing", "a writable folder with free space");
  }
}

}  // namespace kvg::reports
