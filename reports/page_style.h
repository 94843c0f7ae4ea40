#pragma once

#include <string>

namespace kvg::reports {

// The style sheet of the page, whole: light, dark and print, no other file and no script.
std::string page_style();

}  // namespace kvg::reports
