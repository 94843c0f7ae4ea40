#include "reports/report.h"

#include "cli/commands.h"
#include "cli/options.h"

#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  std::string run;
  std::string output;
};

}  // namespace

void add_report(CLI::App& app, int&) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      *app.add_subcommand("report", "Write HTML, Markdown and CSV from a run record");
  command.add_option("RUN", options->run, "folder with run.json and items.jsonl")->required();
  option(command, "--output", options->output, "folder to write into; default: the run's own");
  command.callback([options] {
    reports::ReportOptions report;
    report.output = options->output;
    const reports::ReportFiles files = reports::write_report(options->run, report);
    std::printf("%s\n%s\n%s\n%s\n", files.summary.c_str(), files.html.c_str(),
                files.markdown.c_str(), files.csv.c_str());
  });
}

}  // namespace kvg::cli
