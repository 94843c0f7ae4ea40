#include "cli/commands.h"
#include "cli/options.h"
#include "reports/study/study_report.h"

#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  std::string folder;
  std::string output;
};

}  // namespace

void add_study(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      *app.add_subcommand("study", "Compare trained arms from their run records, seeds apart");
  command.add_option("FOLDER", options->folder, "folder with study.yaml")->required();
  option(command, "--output", options->output, "folder to write into; default: the study's own");
  command.footer("study.yaml is described in reports/SCHEMA.md");
  command.callback([options] {
    reports::StudyOptions study;
    study.output = options->output;
    const reports::StudyFiles files = reports::write_study(options->folder, study);
    std::printf("%s\n", files.summary.c_str());
    for (const auto& file : files.files) std::printf("%s\n", file.c_str());
  });
}

}  // namespace kvg::cli
