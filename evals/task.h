#pragma once

#include "base/progress.h"
#include "evals/item.h"
#include "evals/settings.h"
#include "model/sequence.h"
#include "model/tokenizer.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kvg {

// What a task may know of the model before it is run. Outlives the task.
struct TaskEnvironment {
  const Tokenizer* tokenizer = nullptr;
  int64_t context = 0;     // tokens the model was trained for; 0: unknown
  uint64_t seed = 0;       // master seed of the run
  bool can_watch = false;  // its attention can be watched (Sequence::watch)
};

// A text or a table that the task read; part of the request.
struct DataUse {
  std::string name;
  std::string sha256;
  int64_t bytes = 0;
};

// Feeds sequences in chunks, and between chunks looks at the stop flag, moves the progress bar and
// keeps the time. Throws Interrupted when asked to stop.
class Feeder {
 public:
  explicit Feeder(int64_t chunk = 512, const std::atomic<bool>* stop = nullptr,
                  Progress* progress = nullptr)
      : chunk_(chunk), stop_(stop), progress_(progress) {}

  void append(Sequence& sequence, std::span<const int32_t> tokens);
  std::vector<double> score(Sequence& sequence, std::span<const int32_t> tokens);
  // One decode step a token.
  std::vector<double> score_decoding(Sequence& sequence, std::span<const int32_t> tokens);
  void check_stop() const;

  // Prefill since the last call of take(): seconds and tokens.
  Timing take();

 private:
  template <typename Step>
  void feed(std::span<const int32_t> tokens, const Step& step);
  template <typename Score>
  std::vector<double> collect(std::span<const int32_t> tokens, const Score& score);

  int64_t chunk_;
  const std::atomic<bool>* stop_;
  Progress* progress_;
  Timing timing_;
};

// One kind of measurement of what a method keeps. A task plans its items without a model and runs
// groups of them on a subject; it knows no method.
class Task {
 public:
  virtual ~Task() = default;

  // Every item, in running order; the same for every method.
  virtual std::vector<ItemGroup> plan() const = 0;
  virtual bool has(Condition condition) const = 0;
  // Context lengths in tokens, for the table of bytes; the largest bounds the sequences.
  virtual std::vector<int64_t> lengths() const = 0;
  virtual std::vector<DataUse> data() const = 0;
  // Rows for `group.items` in order (a resumed run leaves out finished ones; what the others see
  // stays the same). The caller fills in method, condition, task and total seconds.
  virtual std::vector<ItemRow> run(const ItemGroup& group, Condition condition,
                                   const Subject& subject, Feeder& feeder) const = 0;
};

// One row of the table of tasks (evals/tasks.cpp).
struct TaskEntry {
  std::string name;
  int version = 1;  // raised when the task's numbers change
  std::string help;
  std::span<const SettingSpec> (*settings)();
  std::unique_ptr<Task> (*make)(const Settings& settings, const TaskEnvironment& environment);
};

std::span<const TaskEntry> task_table();
// Throws Error with the nearest name.
const TaskEntry& find_task(std::string_view name, std::string_view where = "tasks");

}  // namespace kvg
