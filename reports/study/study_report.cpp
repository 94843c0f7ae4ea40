#include "reports/study/study_report.h"

#include "reports/study/study_csv.h"
#include "reports/study/study_page.h"
#include "reports/write_file.h"

#include <system_error>

namespace kvg::reports {

StudyFiles write_study(const std::filesystem::path& folder, const StudyOptions& options) {
  const Study study = read_study(folder, options.statistics);
  const StudyDocuments documents = study_documents(study);
  const std::vector<std::pair<std::string, std::string>> contents = {
      {"index.html", documents.html},      {"report.md", documents.markdown},
      {"arms.csv", arms_csv(study)},       {"estimates.csv", estimates_csv(study)},
      {"effects.csv", effects_csv(study)}, {"training.csv", training_csv(study)}};
  const std::filesystem::path output = options.output.empty() ? folder : options.output;
  std::error_code error;
  std::filesystem::create_directories(output, error);
  StudyFiles files;
  files.summary = documents.summary;
  for (const auto& [name, content] : contents) {
    write_file(output / name, content);
    files.files.push_back(output / name);
  }
  return files;
}

}  // namespace kvg::reports
