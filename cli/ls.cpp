#include "base/names.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/table.h"
#include "evals/task.h"
#include "model/cache/policy.h"
#include "model/checkpoint.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <variant>

namespace kvg::cli {

namespace {

std::string print(int64_t value) { return std::to_string(value); }
std::string print(const std::string& value) { return value; }
std::string print(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}
template <typename T>
std::string print(const std::vector<T>& values) {
  std::vector<std::string> texts;
  for (const T& value : values) texts.push_back(print(value));
  return join(texts, ",");
}
// Of an argument of a method or a setting of a task.
template <typename... Alternatives>
std::string print(const std::variant<Alternatives...>& value) {
  return std::visit([](const auto& alternative) { return print(alternative); }, value);
}

void print_entry(const std::string& name, const std::string& help,
                 const std::vector<ArgumentSpec>& arguments) {
  std::printf("%s\n    %s\n", name.c_str(), help.c_str());
  for (const ArgumentSpec& argument : arguments) {
    std::string what = argument.help;
    if (!argument.choices.empty()) what += " [" + join(argument.choices, "|") + "]";
    std::printf("    %-20s %-10s %s\n", argument.name.c_str(), print(argument.fallback).c_str(),
                what.c_str());
  }
}

void ls_methods() {
  std::printf(
      "A method is retention(args)+codec(args); window: or bank: before a codec limits it to "
      "one.\n\n");
  for (const PolicyEntry& policy : policy_table()) {
    print_entry(policy.name, policy.help, policy.arguments);
  }
  std::printf("\ncodecs\n");
  for (const CodecEntry& codec : codec_table()) {
    print_entry(codec.name, codec.help, codec.arguments);
  }
}

void ls_models() {
  for (const std::string& name : zoo_names())
    std::printf("%-20s trained, ships with kvgauge\n", name.c_str());
  const std::vector<std::string> trained = zoo_names();
  for (const std::string& preset : preset_names()) {
    const ModelConfig config = preset_config(preset);
    // The trained model of the same name comes first.
    const bool hidden = std::find(trained.begin(), trained.end(), preset) != trained.end();
    const std::string name = (hidden ? "preset:" : "") + preset;
    std::printf("%-20s preset, %s parameters, random weights\n", name.c_str(),
                with_commas(config.parameters()).c_str());
  }
  std::printf("A folder with config.json and *.safetensors, or a llama2.c file, works as well.\n");
}

void ls_tasks() {
  for (const TaskEntry& task : task_table()) {
    std::printf("%s (version %d)\n    %s\n", task.name.c_str(), task.version, task.help.c_str());
    for (const SettingSpec& setting : task.settings()) {
      std::printf("    %-20s %-20s %s\n", setting.name.c_str(), print(setting.fallback).c_str(),
                  setting.help.c_str());
    }
  }
}

}  // namespace

void add_ls(CLI::App& app, int&) {
  CLI::App& ls = *app.add_subcommand("ls", "List methods, models, tasks and their settings");
  ls.require_subcommand(1);
  ls.add_subcommand("methods", "Retention policies and codecs, with every argument")->callback([] {
    ls_methods();
  });
  ls.add_subcommand("models", "What --model takes by name")->callback([] { ls_models(); });
  ls.add_subcommand("tasks", "Tasks and their settings")->callback([] { ls_tasks(); });
}

}  // namespace kvg::cli
