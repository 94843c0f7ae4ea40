#include "reports/compare.h"

#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <iostream>

namespace kvg::cli {

namespace {

struct Options {
  std::string run_a, run_b;
  reports::CompareOptions compare;
  std::string json, markdown;
};

}  // namespace

void add_compare(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App& command = *app.add_subcommand("compare", "Judge run B against run A, item by item");
  command.add_option("A", options->run_a, "run folder: the baseline")->required();
  command.add_option("B", options->run_b, "run folder: the candidate")->required();
  reports::CompareOptions& compare = options->compare;
  option(command, "--method-a", compare.method_a, "one method of A ...");
  option(command, "--method-b", compare.method_b, "... against one of B (A and B may be one run)");
  flag(command, "--across-models", compare.across_models, "the checkpoint is what differs");
  flag(command, "--strict", compare.strict, "refuse differing environments and unmatched items");
  option(command, "--accuracy-margin", compare.statistics.accuracy_margin,
         "differences up to this share are the same")
      ->check(CLI::Range(0.0, 1.0));
  option(command, "--nll-margin", compare.statistics.nll_margin,
         "differences of nats per token up to this share of A's are the same")
      ->check(CLI::Range(0.0, 1.0));
  option(command, "--json", options->json, "file to write the verdicts into");
  option(command, "--markdown", options->markdown, "file to write the table into");
  command.footer("exit code: 0 same or better, 1 worse, 2 not comparable, 3 inconclusive");
  command.callback([options, &exit_code] {
    options->compare.json = options->json;
    options->compare.markdown = options->markdown;
    try {
      exit_code =
          reports::compare_runs(options->run_a, options->run_b, options->compare, std::cout);
    } catch (const Error& error) {
      // A run that cannot be read cannot be compared; 1 would say that B is worse.
      std::cerr << "kvgauge: " << error.what() << "\n";
      exit_code = reports::kNotComparable;
    }
  });
}

}  // namespace kvg::cli
