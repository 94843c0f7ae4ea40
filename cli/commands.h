#pragma once

// One function a subcommand: it declares the options and the callback that runs it. A callback
// reports the exit code through `exit_code` (0 unless it says otherwise) and user errors by
// throwing kvg::Error.
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kvg::cli {

// `command_line` is recorded, so that a run says how to repeat it.
void add_eval(CLI::App& app, int& exit_code, const std::vector<std::string>& command_line);
void add_bench(CLI::App& app, int& exit_code, const std::vector<std::string>& command_line);
void add_generate(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_study(CLI::App& app, int& exit_code);
void add_compare(CLI::App& app, int& exit_code);
void add_ls(CLI::App& app, int& exit_code);
void add_selftest(CLI::App& app, int& exit_code);

}  // namespace kvg::cli
