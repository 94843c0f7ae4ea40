#pragma once

#include "reports/study/study.h"

#include <string>
#include <vector>

namespace kvg::reports {

struct StudyDocuments {
  std::string html, markdown;
  std::string summary;  // the findings as plain text, for a terminal
};

// The report of a study, as a page and as Markdown.
StudyDocuments study_documents(const Study& study);

// One sentence for each quantity of the 2x2.
std::vector<std::string> study_findings(const Study& study);

}  // namespace kvg::reports
