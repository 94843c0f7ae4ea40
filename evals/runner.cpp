#include "evals/runner.h"

#include "base/error.h"
#include "base/names.h"
#include "base/progress.h"
#include "evals/record.h"
#include "evals/run_folder.h"
#include "evals/task.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>
#include <set>

#include <fmt/format.h>

namespace kvg {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct LoadedTask {
  std::string name;
  std::unique_ptr<Task> task;
};

// A group with what is left to do of it, under one condition.
struct Job {
  const LoadedTask* task;
  Condition condition;
  ItemGroup group;
};

bool finite(const ItemRow& row) {
  if (row.answer && !std::isfinite(row.answer->gold_nll)) return false;
  return !row.likelihood || std::isfinite(row.likelihood->nll);
}

class Run {
 public:
  Run(const Suite& suite, const ModelSource& source, const RunOptions& options)
      : suite_(suite), source_(source), options_(options) {
    resolve_methods();
    load_tasks();
    describe();
  }

  RunOutcome execute() {
    const auto start = Clock::now();
    RunFolder folder(options_.folder ? *options_.folder
                                     : options_.root / state_.run_id.substr(0, 16));
    resume(folder);
    state_.started = utc_time();
    folder.write_run(run_json(state_));
    Progress progress("", cost_);
    try {
      for (const RequestedMethod& method : state_.request.methods) {
        run_method(method.method, folder, progress);
        state_.seconds = seconds_since(start);
        folder.write_run(run_json(state_));
      }
      const bool all = std::ranges::all_of(
          state_.methods, [](const auto& entry) { return entry.second.status == "complete"; });
      finish(folder, start, all ? "complete" : "failed");
    } catch (const Interrupted&) {
      finish(folder, start, "interrupted");
      throw;
    } catch (const Error& error) {
      state_.error = error.what();
      try {
        finish(folder, start, "failed");
      } catch (const Error&) {
        // The disk that failed the item may well fail the record too; the first error counts.
      }
      throw;
    }
    return {folder.path(), state_.run_id, state_.status, state_.planned_items,
            resumed_,      failed_rows(), state_.seconds};
  }

 private:
  void resolve_methods() {
    std::set<std::string> seen;
    const auto add = [&](const std::string& text, const std::string& role) {
      std::string canonical = source_.canonical(text);
      if (!seen.insert(canonical).second) {
        throw Error(suite_.where, "methods", "'" + canonical + "' twice", "each method once");
      }
      state_.request.methods.push_back({std::move(canonical), role});
    };
    for (const std::string& method : suite_.methods) add(method, "method");
    if (state_.request.methods.empty()) throw Error(suite_.where, "methods", "none", "a method");
    const auto full = std::ranges::find(state_.request.methods, "full", &RequestedMethod::method);
    (full != state_.request.methods.end() ? *full : state_.request.methods.front()).role =
        "reference";
    for (const std::string& control : suite_.controls) {
      const auto condition =
          std::ranges::find_if(kConditions, [&](Condition c) { return to_string(c) == control; });
      if (condition == kConditions.end()) {
        add(control, "control");
      } else {
        state_.request.controls.push_back(control);
      }
    }
  }

  void load_tasks() {
    const TaskEnvironment environment = {&source_.tokenizer(), source_.facts().context, suite_.seed,
                                         source_.facts().can_watch};
    for (const SuiteTask& wanted : suite_.tasks) {
      const TaskEntry& entry = find_task(wanted.name, wanted.where);
      const Settings settings(entry.name, entry.settings(), wanted.settings);
      tasks_.push_back({entry.name, entry.make(settings, environment)});
      state_.request.tasks.push_back(
          {entry.name, entry.version, settings.all(), tasks_.back().task->data()});
    }
  }

  void describe() {
    state_.request.suite = suite_.name;
    state_.request.seed = suite_.seed;
    state_.request.build = build_id();
    state_.request.model = source_.facts();
    state_.request.tokenizer_hash = source_.tokenizer().hash();
    state_.run_id = run_id(state_.request);
    state_.limit = suite_.limit;
    state_.samples = options_.samples;
    state_.machine = this_machine();
    state_.threads = options_.threads;
    state_.command = options_.command;
    std::set<int64_t> lengths;
    for (const LoadedTask& task : tasks_) {
      for (const int64_t length : task.task->lengths()) lengths.insert(length);
    }
    longest_ = lengths.empty() ? 0 : *lengths.rbegin();
    for (const RequestedMethod& method : state_.request.methods) {
      MethodState& entry = state_.methods[method.method];
      for (const int64_t length : lengths) {
        entry.bytes.emplace_back(length, source_.planned_bytes(method.method, length));
      }
    }
  }

  bool chosen(const Item& item) const {
    if (suite_.limit > 0 && item.index >= suite_.limit) return false;
    return options_.samples.empty() ||
           std::ranges::find(options_.samples, item.index) != options_.samples.end();
  }

  std::vector<Condition> conditions(const std::string& method, const Task& task) const {
    std::vector<Condition> result;
    const auto reference =
        std::ranges::find(state_.request.methods, "reference", &RequestedMethod::role);
    for (const Condition condition : kConditions) {
      const bool asked = condition == Condition::kContext ||
                         (method == reference->method &&
                          std::ranges::find(state_.request.controls, to_string(condition)) !=
                              state_.request.controls.end());
      if (asked && task.has(condition)) result.push_back(condition);
    }
    return result;
  }

  // Plans every method: what is finished, what is left, in running order.
  void resume(const RunFolder& folder) {
    const std::filesystem::path record = folder.path() / "run.json";
    const std::string found = run_id_of(folder.read_run(), record.string());
    if (!found.empty() && found != state_.run_id) {
      throw Error(record.string(), "run_id", found.substr(0, 16),
                  state_.run_id.substr(0, 16) + " (this request), or another folder");
    }
    std::set<std::string> finished;
    const std::string items = (folder.path() / "items.jsonl").string();
    for (size_t i = 0; i < folder.lines().size(); ++i) {
      const FinishedItem item =
          finished_item(folder.lines()[i], fmt::format("{}:{}", items, i + 1));
      finished.insert(item.key);
      count(item.method, item.failed, item.seconds);
    }
    for (const RequestedMethod& method : state_.request.methods) {
      for (const LoadedTask& task : tasks_) {
        for (const Condition condition : conditions(method.method, *task.task)) {
          plan(method.method, task, condition, finished);
        }
      }
    }
  }

  void plan(const std::string& method, const LoadedTask& task, Condition condition,
            const std::set<std::string>& finished) {
    for (ItemGroup& group : task.task->plan()) {
      std::erase_if(group.items, [&](const Item& item) { return !chosen(item); });
      state_.planned_items += std::ssize(group.items);
      const size_t before = group.items.size();
      std::erase_if(group.items, [&](const Item& item) {
        return finished.contains(item_key(method, condition, task.name, item));
      });
      resumed_ += static_cast<int64_t>(before - group.items.size());
      if (group.items.empty()) continue;
      if (condition == Condition::kContext) cost_ += group.cost;
      jobs_[method].push_back({&task, condition, std::move(group)});
    }
  }

  void run_method(const std::string& method, RunFolder& folder, Progress& progress) {
    MethodState& state = state_.methods[method];
    const std::vector<Job>& jobs = jobs_[method];
    std::unique_ptr<Subject> subject;
    try {
      if (!jobs.empty()) subject = source_.subject(method, longest_);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      state.error = error.what();
    } catch (const std::bad_alloc&) {
      state.error = fmt::format("not enough memory for {} tokens", longest_);
    }
    if (!state.error.empty()) {
      state.status = "failed";
      for (const Job& job : jobs)
        progress.advance(job.condition == Condition::kContext ? job.group.cost : 0);
      return;
    }
    for (const Job& job : jobs) {
      progress.label(fmt::format("{} {}", job.task->name, method));
      for (const ItemRow& row : run_job(job, method, *subject, progress)) {
        folder.append(item_json(row));
        count(method, !row.error.empty(), row.seconds);
      }
    }
    state.status = "complete";
  }

  std::vector<ItemRow> run_job(const Job& job, const std::string& method, const Subject& subject,
                               Progress& progress) const {
    const bool counted = job.condition == Condition::kContext;
    Feeder feeder(options_.chunk, options_.stop, counted ? &progress : nullptr);
    feeder.check_stop();
    const auto start = Clock::now();
    std::vector<ItemRow> rows;
    std::string error;
    try {
      rows = job.task->task->run(job.group, job.condition, subject, feeder);
      KVG_CHECK(rows.size() == job.group.items.size(), "one row an item");
    } catch (const Interrupted&) {
      throw;
    } catch (const std::bad_alloc&) {
      error = fmt::format("not enough memory for {} tokens", job.group.length);
    } catch (const Error& problem) {
      error = problem.what();
    }
    if (!error.empty()) rows = failures(job, error);
    for (ItemRow& row : rows) {
      row.method = method;
      row.condition = job.condition;
      row.task = job.task->name;
      row.seconds.total = seconds_since(start) / static_cast<double>(rows.size());
      if (row.error.empty() && !finite(row)) row.error = "the likelihood is not a finite number";
    }
    return rows;
  }

  static std::vector<ItemRow> failures(const Job& job, const std::string& error) {
    std::vector<ItemRow> rows;
    for (const Item& item : job.group.items) {
      ItemRow row;
      row.item = item;
      row.group = job.group.name;
      row.error = error;
      rows.push_back(std::move(row));
    }
    return rows;
  }

  void count(const std::string& method, bool failed, const Timing& seconds) {
    MethodState& state = state_.methods[method];
    ++state.items;
    state.failed_items += failed ? 1 : 0;
    state.prefill_tokens += seconds.prefill_tokens;
    state.prefill_seconds += seconds.prefill;
  }

  int64_t failed_rows() const {
    int64_t failed = 0;
    for (const auto& [name, method] : state_.methods) failed += method.failed_items;
    return failed;
  }

  void finish(RunFolder& folder, Clock::time_point start, const std::string& status) {
    state_.status = status;
    state_.finished = utc_time();
    state_.seconds = seconds_since(start);
    folder.write_run(run_json(state_));
  }

  const Suite& suite_;
  const ModelSource& source_;
  const RunOptions& options_;
  RunState state_;
  std::vector<LoadedTask> tasks_;
  std::map<std::string, std::vector<Job>> jobs_;  // by method
  int64_t longest_ = 0;
  int64_t cost_ = 0;  // tokens left to process
  int64_t resumed_ = 0;
};

}  // namespace

RunOutcome run_suite(const Suite& suite, const ModelSource& source, const RunOptions& options) {
  return Run(suite, source, options).execute();
}

}  // namespace kvg
