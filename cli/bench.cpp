#include "bench/latency/latency_run.h"
#include "bench/latency/memory_limit.h"
#include "cli/commands.h"
#include "cli/geometry_json.h"
#include "cli/loaded_model.h"
#include "cli/options.h"
#include "cli/stop.h"
#include "evals/ranges.h"
#include "reports/report.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#ifdef KVG_WITH_CUDA
#include "bench/peers/attention_ops.h"
#endif

namespace kvg::cli {

namespace {

// What the contender of --attention-peer is called in records.
constexpr const char* kPeerMethod = "full (cuDNN attention)";

struct Options {
  ModelOptions model;
  int64_t layers = 0;
  std::string methods = "full,window(window=384),landmark(window=256,exact=64,summary=64)";
  std::string contexts = "2k";
  std::string batches = "1";
  std::string prefill_batches;
  std::string attention_peer;
  std::string stages = "prefill,decode";
  int64_t repeats = 5;
  int64_t chunk = 0;
  int64_t steps = 64;
  int64_t stride = 1;
  int64_t largest_batch = 4096;
  double time_limit = 0;
  std::string memory_limit = "0";
  uint64_t seed = 0;
  std::string out = "runs";
  std::string run_folder;
  bool no_report = false;
};

std::vector<std::string> parse_stages(const std::string& text) {
  const std::vector<std::string> stages = split_list(text);
  for (const std::string& stage : stages) {
    if (stage != "prefill" && stage != "decode") {
      throw Error("bench", "--stages", "'" + stage + "'", "prefill, decode or both");
    }
  }
  if (stages.empty()) throw Error("bench", "--stages", "nothing", "prefill, decode or both");
  return stages;
}

std::vector<int64_t> parse_positive(const std::string& text, const char* key) {
  const std::vector<int64_t> values = parse_counts(text, "bench", key);
  for (const int64_t value : values) {
    if (value < 1) throw Error("bench", key, std::to_string(value), "1 or more");
  }
  if (values.empty()) throw Error("bench", key, "nothing", "a list of counts");
  return values;
}

// Everything of a request that can be wrong before a model is opened.
BenchRequest parse_request(const Options& options, const std::string& kind) {
  BenchRequest request;
  request.kind = kind;
  for (const std::string& method : split_list(options.methods)) {
    request.methods.push_back(Method::parse(method).canonical());
  }
  if (request.methods.empty()) throw Error("bench", "--methods", "nothing", "a list of methods");
  request.contexts = parse_positive(options.contexts, "--contexts");
  if (kind == "latency") {
    request.batches = parse_positive(options.batches, "--batches");
    request.stages = parse_stages(options.stages);
  }
  request.repeats = options.repeats;
  request.time_limit = options.time_limit;
  request.memory_limit =
      static_cast<uint64_t>(parse_number(options.memory_limit, "bench", "--memory-limit"));
  request.timing.steps = options.steps;
  request.timing.seed = options.seed;
  return request;
}

LoadedModel open(Options* options, BenchRequest* request) {
  options->model.layers = options->layers;
  LoadedModel model = load_model(options->model);
  const ModelConfig& config = model.weights.config;
  if (model.ops->device() == Device::cpu) {
    std::printf("no GPU is used: times are of the %s operations on this machine's processor\n",
                std::string(model.ops->name()).c_str());
    std::fflush(stdout);
  }
  request->model = config.name;
  request->model_hash = model.checkpoint->hash();
  request->model_config = geometry_json(model).dump();
  request->layers = config.layers;
  request->full_layers = model.full_layers;
  request->ops = model.ops->name();
  request->timing.chunk = chunk_or_default(options->chunk, *model.ops);
  request->timing.stride = static_cast<int>(std::min(options->stride, config.layers));
  return model;
}

// The model's own operations, or the same with less memory.
Ops& limited(const LoadedModel& model, uint64_t limit, std::unique_ptr<MemoryLimit>* holder) {
  if (limit == 0) return *model.ops;
  *holder = std::make_unique<MemoryLimit>(*model.ops, limit);
  return **holder;
}

int finish(const Options& options, const BenchOutcome& outcome) {
  if (!options.no_report) {
    const reports::ReportFiles files = reports::write_report(outcome.folder);
    std::printf("%s\nreport %s\n", files.summary.c_str(), files.html.c_str());
  }
  std::printf("record %s\n", outcome.folder.c_str());
  return outcome.complete ? 0 : 1;
}

// A contender that runs the full cache with the peer's attention.
LatencyContender attention_contender(const std::string& peer, Ops& ops, Ops& device_ops,
                                     std::unique_ptr<Ops>* holder) {
#ifdef KVG_WITH_CUDA
  *holder = make_attention_peer(peer, ops, device_ops);
#else
  (void)peer, (void)ops, (void)device_ops;  // require_attention_peer() has refused
#endif
  return {kPeerMethod, "full", holder->get()};
}

// Before a model is opened: whether there is such a peer here.
void require_attention_peer(const std::string& peer) {
#ifdef KVG_WITH_CUDA
  const std::string absent = attention_peer_absent(peer);
#else
  const std::string absent = "'" + peer + "' in a program without CUDA";
#endif
  if (absent.empty()) return;
  throw Error("bench", "--attention-peer", absent,
              "cudnn, a build with KVG_CUDNN_FRONTEND, and libcudnn.so.9 (bench/README.md)");
}

int run_latency_command(Options options, const std::vector<std::string>& command) {
  LatencyOptions latency;
  latency.request = parse_request(options, "latency");
  if (!options.attention_peer.empty()) {
    require_attention_peer(options.attention_peer);
    const auto& stages = latency.request.stages;
    if (std::find(stages.begin(), stages.end(), "prefill") == stages.end()) {
      throw Error("bench", "--stages", options.stages, "prefill, which --attention-peer is about");
    }
    latency.request.methods.push_back(kPeerMethod);
  }
  latency.prefill_batches = options.prefill_batches.empty()
                                ? latency.request.batches
                                : parse_positive(options.prefill_batches, "--prefill-batches");
  latency.root = options.out;
  latency.folder = options.run_folder;
  latency.command = command;
  latency.threads = options.model.threads;
  latency.warm_up = !options.model.nvtx;
  latency.stop = &stop_flag();
  const LoadedModel model = open(&options, &latency.request);
  std::unique_ptr<MemoryLimit> limit;
  Ops& ops = limited(model, latency.request.memory_limit, &limit);
  std::unique_ptr<Ops> peer;
  if (!options.attention_peer.empty()) {
    latency.contender = attention_contender(options.attention_peer, ops, *model.ops, &peer);
  }
  return finish(options, run_latency(model.weights, ops, latency));
}

int run_capacity_command(Options options, const std::vector<std::string>& command) {
  CapacityOptions capacity;
  capacity.request = parse_request(options, "capacity");
  capacity.largest_batch = options.largest_batch;
  capacity.root = options.out;
  capacity.folder = options.run_folder;
  capacity.command = command;
  capacity.threads = options.model.threads;
  capacity.stop = &stop_flag();
  const LoadedModel model = open(&options, &capacity.request);
  std::unique_ptr<MemoryLimit> limit;
  Ops& ops = limited(model, capacity.request.memory_limit, &limit);
  return finish(options, run_capacity(model.weights, ops, capacity));
}

void add_common(CLI::App& command, Options& options) {
  option(command, "--methods", options.methods, "list, see ls methods");
  option(command, "--contexts", options.contexts, "tokens before decoding: 2k,8k..32k*2");
  option(command, "--repeats", options.repeats, "rounds; five or more give intervals")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}));
  option(command, "--steps", options.steps, "decode steps in one timing")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16));
  option(command, "--chunk", options.chunk, "tokens a prefill call; 0: 4096 on a GPU, else 512")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  option(command, "--layers", options.layers, "only the first of the model's; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 16));
  option(command, "--memory-limit", options.memory_limit, "bytes for caches and buffers; 0: none");
  option(command, "--seed", options.seed, "of prompts and of the order of cells");
  option(command, "--out", options.out, "folder of runs");
  option(command, "--run-folder", options.run_folder, "exactly this folder instead");
  flag(command, "--no-report", options.no_report, "leave the record only");
  add_model_options(command, options.model);
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code, const std::vector<std::string>& command_line) {
  CLI::App& bench = *app.add_subcommand("bench", "Measure what methods cost: latency, capacity");
  bench.require_subcommand(1);
  auto latency = std::make_shared<Options>();
  CLI::App& latency_command = *bench.add_subcommand(
      "latency", "Time to the first token and per token, phase by phase, with a report");
  add_common(latency_command, *latency);
  flag(latency_command, "--nvtx", latency->model.nvtx,
       "phases as ranges for Nsight: no warm-up, decode steps without a graph");
  option(latency_command, "--batches", latency->batches, "sequences at a time: 1,64");
  option(latency_command, "--prefill-batches", latency->prefill_batches,
         "those whose prefill is timed; default: all");
  option(latency_command, "--attention-peer", latency->attention_peer,
         "cudnn: also the full cache with cuDNN's attention, prefill only");
  option(latency_command, "--stages", latency->stages, "prefill, decode or both");
  option(latency_command, "--stride", latency->stride,
         "a traced decode step times every n-th layer")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16));
  option(latency_command, "--time-limit-s", latency->time_limit,
         "seconds for the run; long cells get fewer repeats; 0: none")
      ->check(CLI::Range(0.0, 1e9));
  latency_command.callback([latency, &exit_code, command_line] {
    exit_code = run_latency_command(*latency, command_line);
  });

  auto capacity = std::make_shared<Options>();
  capacity->repeats = 3;
  CLI::App& capacity_command =
      *bench.add_subcommand("capacity", "The largest batch that fits, and its tokens a second");
  add_common(capacity_command, *capacity);
  option(capacity_command, "--largest-batch", capacity->largest_batch, "never tried beyond")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  capacity_command.callback([capacity, &exit_code, command_line] {
    exit_code = run_capacity_command(*capacity, command_line);
  });
}

}  // namespace kvg::cli
