// Writes a run with invented numbers and its report, to look at the page without measuring
// anything:
//   kvg_sample_report FOLDER
#include "reports/report.h"
#include "reports/synthetic_run.h"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  try {
    kvg::reports::write_synthetic_run(argv[1], {});
    std::printf("%s\n", kvg::reports::write_report(argv[1]).html.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
