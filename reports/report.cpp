#include "reports/report.h"

#include "base/error.h"
#include "reports/digest.h"
#include "reports/documents.h"
#include "reports/latency_page.h"
#include "reports/latency_record.h"
#include "reports/page.h"
#include "reports/record.h"
#include "reports/terminal.h"
#include "reports/write_file.h"

#include <string>
#include <system_error>

namespace kvg::reports {

namespace {

// Where the files of a report go.
ReportFiles files_in(const std::filesystem::path& run_directory, const ReportOptions& options) {
  const std::filesystem::path folder = options.output.empty() ? run_directory : options.output;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return {folder / "report.html", folder / "report.md", folder / "results.csv", "", false};
}

ReportFiles write_latency_report(const std::filesystem::path& run_directory,
                                 const ReportOptions& options) {
  const LatencyRun run = read_latency_run(run_directory);
  if (run.rows.empty()) {
    throw Error((run_directory / "items.jsonl").string(), "", "no lines", "at least one line");
  }
  const LatencyDigest digest = make_latency_digest(run, options.statistics);
  ReportFiles files = files_in(run_directory, options);
  files.summary = latency_terminal(digest);
  files.complete = digest.complete();
  write_file(files.html, latency_html(digest));
  write_file(files.markdown, latency_markdown(digest));
  write_file(files.csv, latency_csv(digest));
  return files;
}

}  // namespace

ReportFiles write_report(const std::filesystem::path& run_directory, const ReportOptions& options) {
  if (record_kind(run_directory) != RecordKind::kEvaluation) {
    return write_latency_report(run_directory, options);
  }
  const Run run = read_run(run_directory);
  if (run.items.empty()) {
    throw Error((run_directory / "items.jsonl").string(), "", "no items", "at least one item");
  }
  const Digest digest = make_digest(run, options.statistics);
  ReportFiles files = files_in(run_directory, options);
  files.summary = terminal_text(digest);
  files.complete = run.complete();
  write_file(files.html, html_page(digest));
  write_file(files.markdown, markdown_document(digest));
  write_file(files.csv, csv_document(digest));
  return files;
}

}  // namespace kvg::reports
