#pragma once

#include "reports/digest.h"

#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

// The result in words, every one computed from the digest.
struct Summary {
  struct Statement {
    std::string text;
    std::optional<Verdict> verdict;
  };
  struct Finding {
    const MethodView* method;
    std::string size;  // "780 kB, 1/16 of full"
    std::vector<Statement> statements;
  };
  std::string measured;           // what was run on what
  std::vector<std::string> main;  // the result in a few sentences
  std::vector<Finding> findings;  // one for each method and control
};

Summary summarise(const Digest& digest);

// Why the record is not the whole run; empty when it is.
std::string incompleteness(const Run& run);

}  // namespace kvg::reports
