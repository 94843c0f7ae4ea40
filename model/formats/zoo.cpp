#include "model/formats/zoo.h"

#include "model/checkpoint.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <vector>

namespace kvg {

namespace {

std::vector<std::filesystem::path> zoo_roots() {
  std::vector<std::filesystem::path> roots;
  if (const char* root = std::getenv("KVG_ZOO"); root != nullptr && *root != '\0') {
    roots.emplace_back(root);
  }
  roots.emplace_back(KVG_SOURCE_ZOO);
  std::error_code unknown;  // no /proc: then there is no program folder to look beside
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  if (!unknown) roots.push_back(program.parent_path().parent_path() / "share/kvgauge/zoo");
  return roots;
}

bool is_model(const std::filesystem::path& folder) {
  std::error_code unreadable;
  return std::filesystem::exists(folder / "config.json", unreadable);
}

}  // namespace

std::filesystem::path find_zoo_model(const std::string& name) {
  // A zoo model is a name; anything with a slash is a path of the user's own.
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) return {};
  for (const std::filesystem::path& root : zoo_roots()) {
    if (is_model(root / name)) return root / name;
  }
  return {};
}

std::vector<std::string> zoo_names() {
  std::set<std::string> names;
  for (const std::filesystem::path& root : zoo_roots()) {
    std::error_code unreadable;
    for (const auto& entry : std::filesystem::directory_iterator(root, unreadable)) {
      if (is_model(entry.path())) names.insert(entry.path().filename().string());
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace kvg
