#include "base/names.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/model_source.h"
#include "cli/options.h"
#include "cli/stop.h"
#include "evals/ranges.h"
#include "evals/runner.h"
#include "reports/report.h"

#include <cstdio>

namespace kvg::cli {

namespace {

struct Options {
  ModelOptions model;
  std::string suite = "quick";
  std::string tasks, methods, controls, data, lengths, seed, limit, samples;
  std::string context = "0";
  std::vector<std::string> settings;
  std::string out = "runs";
  std::string run_folder;
  int64_t chunk = 0;
  bool no_report = false;
  CLI::Option* model_option = nullptr;
};

std::vector<SuiteOverride> overrides_of(const Options& options) {
  std::vector<SuiteOverride> overrides;
  const auto add = [&overrides](const char* key, const std::string& value) {
    if (!value.empty()) overrides.push_back({key, value, "--" + std::string(key)});
  };
  add("tasks", options.tasks);
  add("methods", options.methods);
  if (options.controls == "none") {
    overrides.push_back({"controls", "", "--controls"});
  } else {
    add("controls", options.controls);
  }
  add("data", options.data);
  add("lengths", options.lengths);
  add("seed", options.seed);
  add("limit", options.limit);
  for (const std::string& setting : options.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos) throw Error("--set", "", "'" + setting + "'", "KEY=VALUE");
    overrides.push_back({setting.substr(0, equals), setting.substr(equals + 1), "--set"});
  }
  return overrides;
}

int run(Options options, const std::vector<std::string>& command) {
  Suite suite = load_suite(options.suite);
  apply_overrides(&suite, overrides_of(options));
  if (options.model_option->count() > 0 || suite.model.empty()) {
    suite.model = options.model.model;
  } else {
    options.model.model = suite.model;
  }
  const CliModelSource source(options.model, options.chunk,
                              parse_count(options.context, "eval", "--context"));
  RunOptions run_options;
  run_options.root = options.out;
  if (!options.run_folder.empty()) run_options.folder = options.run_folder;
  if (!options.samples.empty()) {
    run_options.samples = parse_counts(options.samples, "eval", "--samples");
  }
  run_options.chunk = source.chunk();
  run_options.threads = options.model.threads;
  run_options.command = command;
  run_options.stop = &stop_flag();
  const RunOutcome outcome = run_suite(suite, source, run_options);

  std::printf("%lld items, %lld found finished, %lld failed, %s\n",
              static_cast<long long>(outcome.planned), static_cast<long long>(outcome.resumed),
              static_cast<long long>(outcome.failed), format_duration(outcome.seconds).c_str());
  if (const OpsProfile profile = source.profile(); profile.total > 0) {
    std::printf(
        "operations %s: %.0f %% of it inside BLAS, %.0f %% in attention (its BLAS included)\n",
        format_duration(profile.total).c_str(), 100 * profile.gemm / profile.total,
        100 * profile.attention / profile.total);
  }
  if (!options.no_report) {
    const auto files = reports::write_report(outcome.folder);
    std::printf("\n%s\nreport %s\n", files.summary.c_str(), files.html.c_str());
  }
  std::printf("record %s\n", outcome.folder.c_str());
  return outcome.failed == 0 && outcome.status == "complete" ? 0 : 1;
}

}  // namespace

void add_eval(CLI::App& app, int& exit_code, const std::vector<std::string>& command_line) {
  auto options = std::make_shared<Options>();
  CLI::App& command = *app.add_subcommand(
      "eval", "Measure what methods keep: run a suite, leave a record and a report");
  command
      .add_option("SUITE,--suite", options->suite,
                  "built in (" + join(built_in_suites()) + ") or a file")
      ->envname(environment_twin("--suite"))
      ->capture_default_str();
  option(command, "--methods", options->methods, "list instead of the suite's, see ls methods");
  option(command, "--tasks", options->tasks, "list instead of the suite's, see ls tasks");
  option(command, "--controls", options->controls,
         "none, or a list of closed-book, oracle, methods");
  option(command, "--data", options->data, "text of the tasks: generated, wikitext2 or a file");
  option(command, "--lengths", options->lengths, "contexts of the tasks: 1k,2k..16k*2");
  option(command, "--context", options->context,
         "longest sequence of any task; 0: what the model was trained for");
  option(command, "--set", options->settings,
         "KEY=VALUE or TASK.KEY=VALUE of the suite; repeatable")
      ->allow_extra_args(false);
  option(command, "--seed", options->seed, "of everything random");
  option(command, "--limit", options->limit, "items per cell; 0: all");
  option(command, "--samples", options->samples, "only these items of each cell");
  option(command, "--out", options->out, "folder of runs; the same request resumes its run");
  option(command, "--run-folder", options->run_folder, "exactly this folder instead");
  option(command, "--chunk", options->chunk,
         "tokens a call; 1 prefills token by token; 0: 512, on a GPU 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  flag(command, "--no-report", options->no_report, "leave the record only");
  options->model_option = add_model_options(command, options->model);
  command.callback(
      [options, &exit_code, command_line] { exit_code = run(*options, command_line); });
}

}  // namespace kvg::cli
