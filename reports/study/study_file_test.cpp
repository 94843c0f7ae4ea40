#include "reports/study/study_file.h"

#include "reports/run_test_util.h"
#include "reports/study/study_writer.h"
#include "reports/study/training_log.h"

#include <gmock/gmock.h>

namespace kvg::reports {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kHead = "title: T\nrules: R\narms:\n";
constexpr const char* kArm =
    "  - {name: a, seed: 1, run: r, method: full, role: factorial, factors: {d: off, b: on}}\n";

class StudyFileTest : public ::testing::Test {
 protected:
  std::string error(const std::string& text) {
    write_text(folder_ / "study.yaml", text);
    return error_of([&] { read_study_file(folder_.path()); });
  }
  TemporaryFolder folder_;
};

TEST_F(StudyFileTest, ReadsWhatIsWritten) {
  write_text(
      folder_ / "study.yaml",
      std::string(kHead) + kArm +
          "  - {name: c, run: x, method: \"landmark(window=8)\", role: control, compare: a,\n"
          "     training: t.json}\n");
  const StudyFile study = read_study_file(folder_.path());
  ASSERT_EQ(study.arms.size(), 2u);
  EXPECT_EQ(study.arms[0].seed, 1);
  EXPECT_EQ(study.arms[0].factors,
            (std::vector<std::pair<std::string, bool>>{{"d", false}, {"b", true}}));
  EXPECT_EQ(study.arms[1].role, ArmRole::kControl);
  EXPECT_EQ(study.arms[1].compare, "a");
  EXPECT_EQ(study.arms[1].method, "landmark(window=8)");
  EXPECT_EQ(study.arms[1].training, "t.json");
}

TEST_F(StudyFileTest, MalformedFilesAreErrorsOfOneLine) {
  const std::string head = kHead;
  EXPECT_THAT(error_of([&] { read_study_file(folder_.path()); }), HasSubstr("study.yaml"));
  EXPECT_THAT(error("title: [\n"), HasSubstr("valid YAML"));
  EXPECT_THAT(error(""), HasSubstr("expected a mapping"));
  EXPECT_THAT(error("title: T\narms: []\n"), HasSubstr("rules: found nothing"));
  EXPECT_THAT(error("title: T\nrules: R\narms: []\n"), HasSubstr("at least one arm"));
  EXPECT_THAT(error("title: T\nrules: R\narms: none\n"), HasSubstr("a list of arms"));
  EXPECT_THAT(error("titel: T\n"), AllOf(HasSubstr("study.yaml:1"), HasSubstr("'title'")));
  EXPECT_THAT(error(head + "  - {name: a, run: r, method: full}\n"),
              HasSubstr("role: found nothing"));
  EXPECT_THAT(error(head + "  - {name: a, run: r, method: full, role: part}\n"),
              HasSubstr("factorial, control or reference"));
  EXPECT_THAT(error(head + "  - {name: a, run: r, method: full, role: factorial}\n"),
              HasSubstr("found 0 factors"));
  EXPECT_THAT(error(head + kArm + kArm), HasSubstr("seed 1 twice"));
  EXPECT_THAT(error(head + "  - {name: a, run: r, method: full, role: control}\n"),
              HasSubstr("compare: found nothing"));
  EXPECT_THAT(error(head + kArm + "  - {name: c, run: r, method: m, role: control, compare: b}\n"),
              HasSubstr("another arm"));
  EXPECT_THAT(error(head + "  - {name: a, seed: -1, run: r, method: full, role: reference}\n"),
              HasSubstr("whole number"));
  EXPECT_THAT(error(head + kArm +
                    "  - {name: a, seed: 2, run: r, method: full, role: factorial, factors: "
                    "{d: on, b: on}}\n"),
              HasSubstr("the same for all seeds"));
  EXPECT_THAT(error(head + "  - {name: a, run: r, method: full, role: factorial, factors: "
                           "{d: 7, b: on}}\n"),
              HasSubstr("on or off"));
  EXPECT_THAT(error("moved_threshold: 0\n"), HasSubstr("above 0"));
}

TEST_F(StudyFileTest, TrainingRecordsTolerateWhatTheyDoNotKnow) {
  const auto path = folder_ / "t.json";
  write_text(path,
             R"({"schema_version": 1, "seed": null, "news": [1], "curve": [
                 {"step": 20, "loss": 2, "gate_moved": 0.5, "word": "x"}, {"step": 10, "loss": 3}]})");
  const TrainingLog log = read_training_log(path);
  EXPECT_FALSE(log.seed);
  EXPECT_EQ(log.ends("loss"), (std::pair{3.0, 2.0}));
  EXPECT_EQ(log.ends("gate_moved"), (std::pair{0.5, 0.5}));
  EXPECT_FALSE(log.ends("lambda_mean"));
  for (const char* bad :
       {"", "[]", "{}", R"({"schema_version": 2})", R"({"schema_version": 1, "tokens": "many"})",
        R"({"schema_version": 1, "curve": [{"loss": 1}]})",
        R"({"schema_version": 1, "command": [1]})"}) {
    write_text(path, bad);
    EXPECT_THAT(error_of([&] { read_training_log(path); }), HasSubstr("t.json")) << bad;
  }
}

TEST(StudyMarkdown, EscapesWhatIsNotMarkup) {
  EXPECT_EQ(markdown_to_html("a <b> & `c<d`\n**e** `open\n\n- x\n  y\n- z\n\nend"),
            "<p>a &lt;b&gt; &amp; <code>c&lt;d</code> <b>e</b> `open</p>\n"
            "<ul>\n<li>x y</li>\n<li>z</li>\n</ul>\n<p>end</p>\n");
}

}  // namespace
}  // namespace kvg::reports
