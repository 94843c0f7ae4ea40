// The program as a user meets it: commands in, exit codes and one-line errors out.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

struct Result {
  int exit_code = -1;
  std::string out, err;
};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

class Program : public ::testing::Test {
 protected:
  Program() {
    std::string pattern = (fs::temp_directory_path() / "kvgauge-cli-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Program() override { fs::remove_all(folder_); }

  // Starts the program with its output in files; standard input is empty.
  pid_t start(const std::vector<std::string>& arguments) const {
    std::vector<std::string> owned = {KVG_PROGRAM};
    owned.insert(owned.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& argument : owned) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const auto redirect = [](const fs::path& path, int target, int flags) {
        dup2(open(path.c_str(), flags, 0600), target);
      };
      redirect("/dev/null", 0, O_RDONLY);
      redirect(folder_ / "out", 1, O_CREAT | O_TRUNC | O_WRONLY);
      redirect(folder_ / "err", 2, O_CREAT | O_TRUNC | O_WRONLY);
      execv(argv[0], argv.data());
      _exit(127);
    }
    return child;
  }

  Result wait(pid_t child) const {
    int status = 0;
    waitpid(child, &status, 0);
    Result result;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    result.out = read_file(folder_ / "out");
    result.err = read_file(folder_ / "err");
    return result;
  }

  Result run(const std::vector<std::string>& arguments) const { return wait(start(arguments)); }

  // One line on standard error that names every part, and the given exit code.
  void expect_error(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& parts, int exit_code = 1) const {
    const Result result = run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    for (const std::string& part : parts) EXPECT_THAT(result.err, HasSubstr(part));
  }

  // A small valid checkpoint that a test may damage.
  fs::path checkpoint() const {
    const fs::path copy = folder_ / "model";
    fs::remove_all(copy);
    fs::copy(fs::path(KVG_SOURCE_DIR) / "model/formats/golden/llama-gqa", copy);
    return copy;
  }

  // A folder without tensors of its own beside kvg-tiny's geometry; `kvgauge`: of config.json.
  fs::path overlay(const std::string& kvgauge) const {
    const fs::path folder = folder_ / "overlay";
    fs::create_directory(folder);
    std::string config = read_file(fs::path(KVG_SOURCE_DIR) / "model/zoo/kvg-tiny/config.json");
    replace(config, "{", R"({"kvgauge": {)" + kvgauge + "},");
    write_file(folder / "config.json", config);
    write_file(folder / "model.safetensors", std::string("\x02\0\0\0\0\0\0\0{}", 10));
    return folder;
  }

  std::vector<std::string> selftest(const fs::path& model) const {
    return {"selftest", "--model", model.string(), "--tokens", "64", "--methods", "full+f32"};
  }

  fs::path folder_;
};

TEST_F(Program, HelpFitsAScreen) {
  for (const std::string command : {"eval", "report", "compare", "generate", "selftest"}) {
    const Result result = run({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_LE(std::count(result.out.begin(), result.out.end(), '\n'), 30) << result.out;
  }
  EXPECT_THAT(run({"--help"}).out, HasSubstr("selftest"));
  EXPECT_THAT(run({"--version"}).out, HasSubstr("kvgauge 0."));
}

TEST_F(Program, UsageErrorsAreOneLine) {
  expect_error({}, {"subcommand"}, 2);
  expect_error({"evil"}, {"did you mean 'eval'?"}, 2);
  expect_error({"generate", "--max-tokens", "many"}, {"max-tokens"}, 2);
}

TEST_F(Program, MethodsAreChecked) {
  const auto with = [](const std::string& method) {
    return std::vector<std::string>{"generate", "--prompt", "x", "--method", method};
  };
  expect_error(with("lankmark"), {"did you mean 'landmark'?"});
  expect_error(with("window(window=0)"), {"window.window", "found '0'", "1.."});
  expect_error(with("full+eden(bits=9)"), {"eden.bits", "found '9'"});
}

TEST_F(Program, ModelsAreChecked) {
  expect_error({"selftest", "--model", "kvg-tny"}, {"kvg-tny", "did you mean 'kvg-tiny'?"});

  fs::path model = checkpoint();
  EXPECT_EQ(run(selftest(model)).exit_code, 0);
  fs::resize_file(model / "model.safetensors", 5000);
  expect_error(selftest(model), {"model.safetensors", "lm_head.weight", "data_offsets"});

  model = checkpoint();
  std::string content = read_file(model / "model.safetensors");
  content[2] = '\x7f';  // a header of many megabytes
  write_file(model / "model.safetensors", content);
  expect_error(selftest(model), {"model.safetensors", "header"});

  model = checkpoint();
  content = read_file(model / "model.safetensors");
  replace(content, "model.norm.weight", "model.nora.weight");
  write_file(model / "model.safetensors", content);
  expect_error(selftest(model), {"model.norm.weight"});

  model = checkpoint();
  std::string config = read_file(model / "config.json");
  replace(config, "\"intermediate_size\": 40", "\"intermediate_size\": 48");
  write_file(model / "config.json", config);
  expect_error(selftest(model), {"safetensors", "gate_proj", "48"});

  model = checkpoint();
  content = read_file(model / "model.safetensors");
  for (size_t i = content.size() - 4; i < content.size(); ++i) content[i] = '\xff';
  write_file(model / "model.safetensors", content);
  expect_error(selftest(model), {"safetensors", "model.norm.weight", "nan", "expected finite"});
}

TEST_F(Program, AdaptersReplaceTheAttentionAndSayWhatIsAssumed) {
  const fs::path golden = fs::path(KVG_SOURCE_DIR) / "model/formats/golden/mistral-coda";
  const auto logits = [&](const fs::path& adapters, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"inspect",    "logits",
                                          "--model",    golden.string(),
                                          "--adapters", adapters.string(),
                                          "--tokens",   (golden / "expected.safetensors").string(),
                                          "--out",      (folder_ / "logits").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const Result result = run(logits(golden / "phase1", {}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("assumed rope_base 1000000: the base model's"));
  EXPECT_THAT(result.err, HasSubstr("assumed rope_angles exact"));
  EXPECT_THAT(result.err, HasSubstr("assumed write_gates 0.1192"));
  const std::string assumed = read_file(folder_ / "logits");
  const Result given = run(
      logits(golden / "phase1", {"--rope-base", "10000", "--rope-bf16", "--missing-gates", "one"}));
  EXPECT_EQ(given.exit_code, 0) << given.err;
  EXPECT_THAT(given.err, Not(HasSubstr("rope_")));
  EXPECT_THAT(given.err, HasSubstr("assumed write_gates 1"));
  EXPECT_NE(read_file(folder_ / "logits"), assumed);

  expect_error(logits(golden / "config.json", {}), {"config.json", "a ZIP archive"});
  expect_error(logits(golden / "phase2", {"--missing-gates", "one"}), {"--missing-gates"});
  expect_error({"selftest", "--missing-gates", "one"}, {"--missing-gates", "--adapters"});
  expect_error({"selftest", "--adapters", (golden / "phase2").string()},
               {"layer_2", "the 6 layers of kvg-tiny"});
  const std::string record = (folder_ / "run").string();
  EXPECT_NE(run({"bench",       "latency",
                 "--model",     golden.string(),
                 "--adapters",  (golden / "phase2").string(),
                 "--ops",       "cpu",
                 "--methods",   "full",
                 "--contexts",  "32",
                 "--batches",   "1",
                 "--repeats",   "1",
                 "--steps",     "2",
                 "--no-report", "--run-folder",
                 record})
                .exit_code,
            2);
  EXPECT_THAT(read_file(folder_ / "run/run.json"), HasSubstr("\"rope_base\": \"1000000\""));
}

TEST_F(Program, ContextsThatDoNotFitAreRefused) {
  expect_error({"generate", "--prompt", "x", "--context", "1000000000000"},
               {"memory", "TB needed", "at most"});
}

TEST_F(Program, SuitesAreChecked) {
  const fs::path suite = folder_ / "suite.yaml";
  const auto eval = [&](const std::string& text) {
    write_file(suite, text);
    return std::vector<std::string>{"eval", "--suite", suite.string(), "--out",
                                    (folder_ / "runs").string()};
  };
  expect_error(eval("model: kvg-tiny\ntasks: {passkey: [\n"), {"suite.yaml"});
  expect_error(eval("model: kvg-tiny\nmethods: [full]\ntaks: {}\n"),
               {"suite.yaml", "did you mean 'tasks'?"});
  expect_error(eval("model: kvg-tiny\nmethods: [fulll]\ntasks: {passkey: {lengths: 256}}\n"),
               {"did you mean 'full'?"});
  expect_error({"eval", "--suite", "quik"}, {"quik"});
}

TEST_F(Program, UnwritableOutputIsOneLine) {
  expect_error({"eval", "--tasks", "passkey", "--lengths", "256", "--limit", "1", "--methods",
                "full", "--out", "/proc/none"},
               {"/proc/none"});
}

TEST_F(Program, RunReportCompare) {
  const std::vector<std::string> eval = {"eval",
                                         "--tasks",
                                         "passkey",
                                         "--lengths",
                                         "256",
                                         "--limit",
                                         "1",
                                         "--methods",
                                         "full,window(window=32)",
                                         "--controls",
                                         "closed-book",
                                         "--run-folder",
                                         (folder_ / "run").string()};
  const Result first = run(eval);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.err, "");  // quiet when nobody looks
  const std::string items = read_file(folder_ / "run/items.jsonl");
  EXPECT_THAT(read_file(folder_ / "run/report.html"), HasSubstr("</html>"));

  // The same command again has nothing left to do and changes nothing.
  const Result again = run(eval);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(read_file(folder_ / "run/items.jsonl"), items);

  const std::string folder = (folder_ / "run").string();
  EXPECT_EQ(run({"report", folder, "--output", (folder_ / "elsewhere").string()}).exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/report.md"));
  EXPECT_EQ(run({"compare", folder, folder}).exit_code, 0);
  expect_error({"report", (folder_ / "nothing").string()}, {"nothing"});
  expect_error({"compare", folder, (folder_ / "nothing").string()}, {"nothing"}, 2);
}

TEST_F(Program, CtrlCStopsCleanlyAndTheSameCommandGoesOn) {
  const std::vector<std::string> eval = {"eval",
                                         "--tasks",
                                         "passkey",
                                         "--lengths",
                                         "512",
                                         "--set",
                                         "items=2",
                                         "--methods",
                                         "full,window(window=64)",
                                         "--controls",
                                         "closed-book",
                                         "--run-folder",
                                         (folder_ / "run").string(),
                                         "--no-report"};
  const pid_t child = start(eval);
  const fs::path items = folder_ / "run/items.jsonl";
  siginfo_t exited{};
  while ((!fs::exists(items) || fs::file_size(items) == 0) &&
         waitid(P_PID, static_cast<id_t>(child), &exited, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         exited.si_pid == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  kill(child, SIGINT);
  const Result stopped = wait(child);
  // Either it noticed, or it had finished in the meantime.
  EXPECT_TRUE(stopped.exit_code == 130 || stopped.exit_code == 0) << stopped.err;
  const std::string before = read_file(items);
  ASSERT_EQ(run(eval).exit_code, 0);
  const std::string after = read_file(items);
  EXPECT_EQ(after.substr(0, before.size()), before);
}

TEST_F(Program, BenchSaysWhatIsWrongBeforeItMeasures) {
  const auto bench = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"bench", "latency", "--model", "preset:kvg-tiny"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  expect_error(bench({"--methods", "landmrk"}), {"landmrk", "landmark"});
  expect_error(bench({"--contexts", "0"}), {"--contexts", "found 0", "1 or more"});
  expect_error(bench({"--contexts", "many"}), {"--contexts", "many"});
  expect_error(bench({"--batches", "1,0"}), {"--batches", "1 or more"});
  expect_error(bench({"--stages", "training"}), {"--stages", "training", "prefill, decode"});
  expect_error(bench({"--layers", "99"}), {"layers", "99", "1 to 6"});
  expect_error(bench({"--ops", "cpu", "--out", "/proc/none"}), {"/proc/none"});
  expect_error(bench({"--ops", "cpu", "--nvtx"}), {"--nvtx", "cpu", "Nsight"});
  expect_error(bench({"--attention-peer", "cudn"}), {"--attention-peer", "cudn", "cudnn, a build"});
  expect_error({"bench"}, {"subcommand"}, 2);
}

TEST_F(Program, BenchLatencyOnTheHostLeavesRecordAndReport) {
  const std::string run_folder = (folder_ / "latency").string();
  const Result result = run({"bench",        "latency",
                             "--model",      "preset:kvg-tiny",
                             "--ops",        "cpu",
                             "--layers",     "2",
                             "--methods",    "full,landmark(window=16,exact=8,summary=8)",
                             "--contexts",   "32,64",
                             "--batches",    "1,2",
                             "--repeats",    "2",
                             "--steps",      "4",
                             "--run-folder", run_folder});
  // 1: a ledger that does not close, which a loaded machine may cause.
  EXPECT_TRUE(result.exit_code == 0 || result.exit_code == 1) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, HasSubstr("no GPU is used"));
  EXPECT_THAT(result.out, HasSubstr("Weights' floor"));
  EXPECT_THAT(result.out, HasSubstr("Per evicted token"));
  EXPECT_THAT(result.out, HasSubstr("2 of 6 layers"));
  EXPECT_THAT(read_file(folder_ / "latency/report.html"), HasSubstr("What each cache costs"));
  EXPECT_THAT(read_file(folder_ / "latency/run.json"), HasSubstr("\"kind\": \"latency\""));
  EXPECT_EQ(run({"report", run_folder}).exit_code, 0);
  expect_error({"compare", run_folder, run_folder}, {"kind", "an evaluation"}, 2);
}

TEST_F(Program, BenchCapacityUnderAMemoryLimit) {
  const Result result = run({"bench",           "capacity",
                             "--model",         "preset:kvg-tiny",
                             "--ops",           "cpu",
                             "--layers",        "1",
                             "--methods",       "full,window(window=16)",
                             "--contexts",      "64",
                             "--repeats",       "1",
                             "--steps",         "2",
                             "--memory-limit",  "60000000",
                             "--largest-batch", "50",
                             "--run-folder",    (folder_ / "capacity").string()});
  EXPECT_EQ(result.exit_code, 0) << result.err << result.out;
  EXPECT_THAT(result.out, HasSubstr("Largest batch"));
}

TEST_F(Program, EnvironmentTwins) {
  setenv("KVG_METHOD", "nonsense", 1);
  expect_error({"generate", "--prompt", "x"}, {"nonsense"});
  unsetenv("KVG_METHOD");
}

TEST_F(Program, CacheBytesOfThePublishedGeometries) {
  const Result mistral =
      run({"inspect", "cache", "--preset", "mistral-7b", "--methods",
           "landmark(window=256,exact=64,summary=64,semantics=reference)", "--context", "4k"});
  EXPECT_THAT(mistral.out, HasSubstr("1,771,392"));
  const Result llama = run(
      {"inspect", "cache", "--preset", "llama-3-70b", "--methods", "full", "--context", "128000"});
  EXPECT_THAT(llama.out, HasSubstr("41,943,040,000"));
  EXPECT_THAT(llama.out, HasSubstr("41.9 GB"));
}

TEST_F(Program, GeneratesTheSameTextEveryTime) {
  const std::vector<std::string> command = {"generate",     "--prompt", "The village lies",
                                            "--max-tokens", "8",        "--temperature",
                                            "0.8",          "--seed",   "3"};
  const Result first = run(command);
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, run(command).out);
  EXPECT_GT(first.out.size(), 4u);
}

// A folder that changes no tensor is its base under another name.
TEST_F(Program, GeneratesWithTheTensorsOfABase) {
  const fs::path folder = overlay(R"("base": "kvg-tiny")");
  const std::vector<std::string> command = {"generate",     "--prompt", "The village lies",
                                            "--max-tokens", "8",        "--model"};
  const auto with = [&](const std::string& model) {
    std::vector<std::string> arguments = command;
    arguments.push_back(model);
    return run(arguments);
  };
  const Result arm = with(folder.string());
  EXPECT_EQ(arm.exit_code, 0) << arm.err;
  EXPECT_EQ(arm.out, with("kvg-tiny").out);
  expect_error({"inspect", "model", "--model", overlay(R"("base": "kvg-tinny")").string()},
               {"kvgauge.base", "did you mean 'kvg-tiny'?"});
}

TEST_F(Program, ComputesAnglesAsTheModelSays) {
  const fs::path folder = overlay(R"("base": "kvg-tiny", "rope_bf16_angles": true)");
  const Result eval = run({"eval", "--model", folder.string(), "--tasks", "passkey", "--lengths",
                           "256", "--limit", "1", "--methods", "full", "--controls", "closed-book",
                           "--run-folder", (folder_ / "run").string()});
  EXPECT_EQ(eval.exit_code, 0) << eval.err;
  EXPECT_THAT(read_file(folder_ / "run/run.json"), HasSubstr("\"rope_bf16_angles\": true"));
}

}  // namespace
