#pragma once

#include "reports/digest.h"

#include <string>
#include <vector>

namespace kvg::reports {

// The result in words, every one computed from the digest.
struct Summary {
  struct Finding {
    const MethodView* method;
    std::string text;  // sentences, without the method's name
  };
  std::string measured;           // what was run on what
  std::vector<std::string> main;  // the result in one or two sentences
  std::vector<Finding> findings;  // one for each method and control
};

Summary summarise(const Digest& digest);

// Why the record is not the whole run; empty when it is.
std::string incompleteness(const Run& run);

}  // namespace kvg::reports
