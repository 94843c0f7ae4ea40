// Writes a run with invented numbers and its report, to look at the page without measuring
// anything:
//   kvg_sample_report FOLDER [latency|capacity|study]
#include "reports/report.h"
#include "reports/study/study_report.h"
#include "reports/synthetic_latency.h"
#include "reports/synthetic_run.h"
#include "reports/synthetic_study.h"

#include <cstdio>
#include <exception>
#include <string>

int main(int argc, char** argv) {
  const std::string kind = argc == 3 ? argv[2] : "";
  const bool known = kind == "latency" || kind == "capacity" || kind == "study";
  if (argc < 2 || argc > 3 || (argc == 3 && !known)) {
    std::fprintf(stderr, "usage: %s FOLDER [latency|capacity|study]\n", argv[0]);
    return 2;
  }
  try {
    if (kind == "study") {
      kvg::reports::write_synthetic_study(argv[1], {});
      std::printf("%s\n", kvg::reports::write_study(argv[1]).files[0].c_str());
      return 0;
    }
    if (kind == "latency") {
      kvg::reports::write_synthetic_latency(argv[1], {});
    } else if (kind == "capacity") {
      kvg::reports::write_synthetic_capacity(argv[1], {});
    } else {
      kvg::reports::write_synthetic_run(argv[1], {});
    }
    std::printf("%s\n", kvg::reports::write_report(argv[1]).html.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
