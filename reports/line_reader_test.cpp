#include "reports/line_reader.h"

#include "reports/record.h"
#include "reports/report.h"
#include "reports/run_test_util.h"

#include <gmock/gmock.h>

namespace kvg::reports {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The last one marked where it has no newline.
std::vector<std::string> lines_of(const std::filesystem::path& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  std::string line;
  while (reader.next(&line)) lines.push_back(line + (reader.unfinished() ? " (unfinished)" : ""));
  EXPECT_EQ(reader.number(), lines.size());
  return lines;
}

TEST(LineReader, PlainAndCompressedGiveTheSameLines) {
  const TemporaryFolder folder;
  const std::string longer(300000, 'x');
  for (const bool newline : {true, false}) {
    const std::string text = "a\n\n" + longer + "\nlast" + (newline ? "\n" : "");
    write_text(folder / "plain", text);
    write_gzip(folder / "packed.gz", text);
    const std::string last = newline ? "last" : "last (unfinished)";
    for (const char* name : {"plain", "packed.gz"}) {
      EXPECT_THAT(lines_of(folder / name), ElementsAre("a", "", longer, last));
    }
  }
}

TEST(LineReader, DamagedArchivesAreErrors) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 20000; ++i) text += std::to_string(i * 7919) + "\n";
  write_gzip(folder / "a.gz", text);
  const std::string packed = read_text(folder / "a.gz");
  const auto error = [&] { return error_of([&] { lines_of(folder / "a.gz"); }); };
  write_text(folder / "a.gz", packed.substr(0, packed.size() / 2));
  EXPECT_THAT(error(), AllOf(HasSubstr("a.gz"), HasSubstr("cut-off")));
  std::string damaged = packed;
  for (size_t i = packed.size() / 2; i < packed.size() / 2 + 64; ++i) damaged[i] ^= 0x5a;
  write_text(folder / "a.gz", damaged);
  EXPECT_THAT(error(), HasSubstr("damaged"));
  for (const char* other : {"", "{\"key\": 1}\n"}) {
    write_text(folder / "a.gz", other);
    EXPECT_THAT(error(), HasSubstr("expected a gzip archive"));
  }
  std::filesystem::remove(folder / "a.gz");
  EXPECT_THAT(error(), HasSubstr("found nothing"));
}

TEST(LineReader, ReportsOfACompressedRecordAreTheSame) {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  write_synthetic_run(run, small_run());
  ReportOptions options;
  options.output = folder / "plain";
  const ReportFiles plain = write_report(run, options);
  const std::string items = read_text(run / "items.jsonl");
  write_gzip(run / "items.jsonl.gz", items);
  EXPECT_THAT(error_of([&] { read_run(run); }), HasSubstr("both items.jsonl and"));
  std::filesystem::remove(run / "items.jsonl");
  options.output = folder / "packed";
  EXPECT_EQ(read_text(write_report(run, options).html), read_text(plain.html));
  write_text(run / "items.jsonl.gz", read_text(run / "items.jsonl.gz").substr(0, 5000));
  EXPECT_THAT(error_of([&] { read_run(run); }), HasSubstr("items.jsonl.gz"));
}

}  // namespace
}  // namespace kvg::reports
