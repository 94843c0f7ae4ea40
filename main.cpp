#include "base/error.h"
#include "base/names.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/stop.h"
#include "cli/version.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace kvg::cli {
namespace {

// CLI11 would answer an unknown command with "a subcommand is required".
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return;
  throw CLI::ParseError("unknown command '" + std::string(argv[1]) + "'" +
                            did_you_mean(argv[1], names) + ", expected one of " + join(names),
                        2);
}

}  // namespace
}  // namespace kvg::cli

// Exit codes: 0 done; 1 an error, said in one line (compare: worse); 2 wrong usage (compare: not
// comparable); 3 compare: inconclusive; 130 interrupted.
int main(int argc, char** argv) {
  using namespace kvg;
  cli::install_stop_handler();
  int exit_code = 0;
  CLI::App app{"kvgauge measures what a KV-cache method keeps and what it costs.", "kvgauge"};
  app.set_version_flag("--version", cli::version_line());
  app.formatter(std::make_shared<cli::ShortHelp>());
  app.require_subcommand(1);
  app.footer(
      "Every flag has an environment twin: --max-tokens is KVG_MAX_TOKENS. `kvgauge COMMAND "
      "--help`.");
  cli::add_eval(app, exit_code, {argv, argv + argc});
  cli::add_bench(app, exit_code, {argv, argv + argc});
  cli::add_report(app, exit_code);
  cli::add_study(app, exit_code);
  cli::add_compare(app, exit_code);
  cli::add_generate(app, exit_code);
  cli::add_inspect(app, exit_code);
  cli::add_ls(app, exit_code);
  cli::add_selftest(app, exit_code);
  try {
    cli::check_command(app, argc, argv);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "kvgauge: %s\n", printable(error.what(), 2000).c_str());
    return 2;
  } catch (const Interrupted& error) {
    std::fprintf(stderr, "kvgauge: %s\n", error.what());
    return 130;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "kvgauge: out of memory\n");
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kvgauge: %s\n", error.what());
    return 1;
  }
  return exit_code;
}
