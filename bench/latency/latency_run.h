#pragma once

#include "bench/latency/run_record.h"
#include "model/weights.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kvg {

// Someone else's operations under a method of ours, timed in cells of their own. Prefill only.
struct LatencyContender {
  std::string name;    // in request.methods, where methods of ours are canonical
  std::string method;  // what it runs
  Ops* ops = nullptr;
};

struct LatencyOptions {
  BenchRequest request;
  std::optional<LatencyContender> contender;
  std::vector<int64_t> prefill_batches;  // those of request.batches whose prefill is timed
  std::string root = "runs";             // the run gets a folder of its own in here
  std::string folder;                    // or exactly this one
  std::vector<std::string> command;      // recorded only
  int threads = 0;                       // recorded only
  bool warm_up = true;                   // off for a profiler, which looks at the first launches
  const std::atomic<bool>* stop = nullptr;
};

struct BenchOutcome {
  std::filesystem::path folder;
  bool complete = false;  // every cell was measured and closes, or does not fit
};

// Times methods x contexts x batches in `repeats` rounds; each round visits all cells in an order
// of its own, so that whatever drifts meets them alike. A time limit is shared out by affordable():
// long stages get fewer repeats, or none, which becomes a line that says what they would take.
// Leaves the record of reports/SCHEMA.md. A cell that does not fit in memory or fails becomes a
// line, and the run goes on. Throws Error for a folder that cannot be written, and Interrupted.
BenchOutcome run_latency(const Weights& weights, Ops& ops, const LatencyOptions& options);

struct CapacityOptions {
  BenchRequest request;  // no batches, no stages
  int64_t largest_batch = 4096;
  std::string root = "runs", folder;
  std::vector<std::string> command;
  int threads = 0;
  const std::atomic<bool>* stop = nullptr;
};

// For each method and context the largest batch whose caches fit, and the time of its decode steps:
// bounded from the bytes of the caches, then verified by decoding at it, shrinking until it runs.
BenchOutcome run_capacity(const Weights& weights, Ops& ops, const CapacityOptions& options);

// What both put into their records before they begin: ceilings, weights, the machine.
void describe_machine(const Weights& weights, Ops& ops, uint64_t seed, const GpuMonitor* monitor,
                      BenchRecord::Machine* machine);

}  // namespace kvg
