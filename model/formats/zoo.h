#pragma once

#include <filesystem>
#include <string>

namespace kvg {

// The trained checkpoints that ship with the project, each a Hugging Face folder. Looked for under,
// in this order: the environment variable KVG_ZOO, the source tree the program was built from
// (model/zoo), and share/kvgauge/zoo beside the program's own folder.
//
// The folder of a zoo model, or an empty path when there is none of that name.
std::filesystem::path find_zoo_model(const std::string& name);

}  // namespace kvg
