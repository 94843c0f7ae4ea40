#include "reports/page.h"

#include "base/names.h"
#include "reports/figures.h"
#include "reports/page_style.h"
#include "reports/summary.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// "2026-01-01T00:00:00Z" as "2026-01-01 00:00 UTC"; anything else as it is.
std::string printed_time(const std::string& iso) {
  if (iso.size() != 20 || iso[10] != 'T' || iso[19] != 'Z') return iso;
  return iso.substr(0, 10) + " " + iso.substr(11, 5) + " UTC";
}

// Builds the body; numbers the figures in the order in which they appear.
class Page {
 public:
  explicit Page(const Digest& digest) : digest_(digest), run_(*digest.run) {}

  std::string body() {
    header();
    warnings();
    summary();
    results();
    trade_offs();
    controls();
    likelihood();
    for (const Measure& measure : digest_.measures) {
      if (!measure.likelihood) task(measure);
    }
    memory();
    failures();
    reproduction();
    definitions();
    return std::move(out_);
  }

 private:
  void heading(const std::string& title) {
    out_ += fmt::format("<h2>{}</h2>\n", escape_html(title));
  }
  void subheading(const std::string& title) {
    out_ += fmt::format("<h3>{}</h3>\n", escape_html(title));
  }
  void paragraph(const std::string& text, const char* css = "") {
    out_ += fmt::format("<p{}>{}</p>\n", *css != '\0' ? fmt::format(" class=\"{}\"", css) : "",
                        escape_html(text));
  }
  // Drawings side by side under one caption; nothing when there is none.
  void figure(const std::vector<std::string>& drawings, const std::string& caption) {
    std::string inside;
    for (const std::string& drawing : drawings) {
      if (!drawing.empty()) inside += drawings.size() > 1 ? "<div>" + drawing + "</div>" : drawing;
    }
    if (inside.empty()) return;
    out_ += fmt::format(
        "<figure>{}{}{}<figcaption><b>Figure {}.</b> {}</figcaption></figure>\n",
        drawings.size() > 1
            ? fmt::format("<div class=\"{}\">", drawings.size() % 3 == 0 ? "trio" : "pair")
            : "",
        inside, drawings.size() > 1 ? "</div>" : "", ++figures_, escape_html(caption));
  }

  void header() {
    const auto meta = [this](const char* name, const std::string& value) {
      out_ += fmt::format("<span>{} <b>{}</b></span>", name, escape_html(value));
    };
    out_ += "<header><p class=\"kicker\">kvgauge run report</p>\n";
    out_ += fmt::format("<h1>What each cache keeps on {}</h1>\n<p class=\"meta\">",
                        escape_html(run_.model));
    meta("run", run_.run_id.substr(0, 16));
    meta("suite", run_.suite);
    meta("started", printed_time(run_.provenance_value("started")));
    const std::string commit = run_.provenance_value("git_commit").substr(0, 12);
    meta("commit", run_.provenance_value("git_dirty") == "true" ? commit + " (modified)" : commit);
    meta("seed", std::to_string(run_.seed));
    out_ += "</p></header>\n<main>\n";
  }

  void warnings() {
    if (const std::string why = incompleteness(run_); !why.empty()) {
      out_ += fmt::format(
          "<p class=\"banner\"><b>INCOMPLETE</b> {}. Every number below is of the "
          "items that are there.</p>\n",
          escape_html(why));
    }
    std::vector<std::string> notes = run_.notes;
    for (const std::string& warning : size_warnings(digest_)) notes.push_back(warning);
    if (notes.empty()) return;
    out_ += "<ul class=\"notes\">";
    for (const std::string& note : notes) out_ += fmt::format("<li>{}</li>", escape_html(note));
    out_ += "</ul>\n";
  }

  void summary() {
    const Summary summary = summarise(digest_);
    paragraph(summary.measured, "lead");
    if (!summary.main.empty()) paragraph(join(summary.main, " "), "lead");
    out_ += "<ul class=\"findings\">\n";
    for (const Summary::Finding& finding : summary.findings) {
      out_ += fmt::format(
          "<li><span class=\"who\"><i class=\"sw {}\"></i>{}</span><span "
          "class=\"size\">{}</span><span>",
          finding.method->style.css_class, escape_html(finding.method->label),
          escape_html(finding.size));
      for (const Summary::Statement& statement : finding.statements) {
        out_ += "<span class=\"say\">";
        if (statement.verdict) out_ += verdict_chip(*statement.verdict) + " ";
        out_ += escape_html(statement.text) + "</span> ";
      }
      out_ += "</span></li>\n";
    }
    out_ += "</ul>\n";
  }

  void results() {
    heading("Results");
    for (const auto& group : rows_of(digest_.leading_measures())) {
      out_ += to_html(result_table(digest_, group));
    }
    paragraph(
        fmt::format(
            "In brackets: 95 % intervals. A difference is the method minus {}, paired item by "
            "item. Same: its interval lies within \u00B1{} points of accuracy or \u00B1{} % of the "
            "nats. Better or worse: the interval excludes 0 and Holm's p over the methods of the "
            "task is at most {}. Unclear: neither can be said from these items.",
            digest_.reference().label, fixed(digest_.options.accuracy_margin * 100, 1),
            fixed(digest_.options.nll_margin * 100, 1), fixed(digest_.options.alpha, 2)),
        "note");
  }

  void trade_offs() {
    heading("Quality against bytes");
    const std::vector<const Measure*> measures = digest_.leading_measures();
    const double width = measures.size() == 1 ? 640 : measures.size() % 3 == 0 ? 334 : 508;
    std::vector<std::string> scatters;
    for (const Measure* measure : measures) {
      scatters.push_back(pareto_figure(digest_, *measure, width));
    }
    figure(scatters,
           "Quality against the bytes that the cache occupies at the longest context. Up and to "
           "the left is better; for nats per token, down and to the left. The dashed line joins "
           "the points that no other point beats in both. Bars are 95 % intervals of each method "
           "alone; to compare two methods read the next figure.");
    std::string differences;
    for (const auto& group : rows_of(measures)) differences += difference_figure(digest_, group);
    figure({differences},
           fmt::format(
               "Difference of each method to {} on the same items, with paired 95 % intervals. "
               "The shaded band is the margin within which a method counts as the same; an "
               "arrow is a value beyond the axis.",
               digest_.reference().label));
  }

  void controls() {
    const Table table = control_table(digest_);
    if (table.rows.empty()) return;
    heading("Floors and ceilings");
    paragraph(
        "What a score means depends on what the model reaches without reading the context, with "
        "slots kept at random, with everything kept, and with nothing but the evidence.");
    out_ += to_html(table);
  }

  void likelihood() {
    const Measure* measure = digest_.headline_likelihood();
    if (measure == nullptr) return;
    heading("Perplexity");
    out_ += to_html(likelihood_table(digest_));
    figure(
        {position_figure(digest_, *measure), position_difference_figure(digest_, *measure)},
        "Left, the cost of a token by how many tokens came before it: a cache that loses what it "
        "needs rises where others fall. Right, the same as paired differences; bands are 95 % "
        "intervals over streams.");
    figure(
        {repeat_figure(digest_, *measure), repeat_difference_figure(digest_, *measure)},
        "Where the difference comes from: tokens by the distance to the last occurrence of the "
        "same "
        "token. A method that forgets pays for tokens that repeat from beyond its window, not for "
        "new ones.");
  }

  void task(const Measure& measure) {
    std::string title = measure.title;
    if (!title.empty())
      title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
    heading(title);
    figure(
        {axis_figure(digest_, measure, "length", "By length", "length of the context in tokens"),
         axis_figure(digest_, measure, "depth", "By depth",
                     "depth of the evidence (0 % is the beginning)")},
        fmt::format("Right answers of {} by length of the context and by where in it the evidence "
                    "stands; bars are 95 % intervals.",
                    measure.title));
    figure({depth_figure(digest_, measure)},
           fmt::format(
               "Right answers of {} in percent by depth and length. A method that keeps only "
               "what is recent is dark in the lowest rows alone. Hatched cells hold fewer than "
               "20 items: read rows and columns of them, not single cells.",
               measure.title));
    strata(measure);
    examples(measure);
  }

  void strata(const Measure& measure) {
    const Breakdown kinds = break_down(digest_, measure, [](const Item& item) {
      const auto it = item.strata.find("kind");
      return it == item.strata.end() ? std::string() : it->second;
    });
    if (kinds.groups.size() > 1) {
      subheading("By kind of question");
      paragraph(
          "plain: one statement in the text; updated: a later statement replaces an older value; "
          "unanswerable: the text does not say, and the right answer is to say so, which a cache "
          "that has lost everything gets right too.",
          "note");
      out_ += to_html(breakdown_table(digest_, kinds, ""));
    }
    figure({strata_figure(digest_, measure, "overlap_bin", "By overlap of wording",
                          "share of words that question and evidence have in common")},
           "Right answers by lexical overlap (Jaccard, entity and value taken out). Where the line "
           "falls to the left, the method finds words rather than meanings.");
  }

  void examples(const Measure& measure) {
    const Table table = example_table(digest_, measure, 8);
    if (table.rows.empty()) return;
    out_ += fmt::format(
        "<details><summary>Answers that tell the methods apart ({} of {})</summary>\n<div "
        "class=\"wide\">",
        table.rows.size(), escape_html(measure.title));
    out_ += to_html(table) + "</div></details>\n";
  }

  void memory() {
    heading("Memory");
    paragraph(
        fmt::format("Bytes that each cache occupies when provisioned for {} tokens, all layers, "
                    "counted and not estimated, and the most that any item had in use.",
                    thousands(digest_.longest)));
    out_ += to_html(memory_table(digest_));
  }

  void failures() {
    heading("Failures and generation");
    const Table table = failure_table(digest_);
    if (table.rows.empty()) {
      paragraph("No item and no method failed.");
    } else {
      paragraph(
          "Failed items count as wrong answers; in perplexity they are left out of the mean.");
      out_ += to_html(table);
    }
    out_ += "<details><summary>Length of the answers</summary>\n";
    out_ += to_html(behaviour_table(digest_)) + "</details>\n";
  }

  void reproduction() {
    heading("Reproduction");
    if (!run_.command.empty()) {
      out_ += fmt::format("<pre>{}</pre>\n", escape_html(join(run_.command, " ")));
    }
    out_ += "<div class=\"kv\">" + to_html(method_table(digest_)) + "</div>\n";
    out_ += "<details open><summary>Request, hashes and environment</summary>\n<div class=\"kv\">";
    out_ += to_html(provenance_table(digest_)) + "</div></details>\n";
  }

  void definitions() {
    heading("How to read the numbers");
    const auto& options = digest_.options;
    out_ += "<ul class=\"note\">\n";
    const auto item = [this](const std::string& text) {
      out_ += fmt::format("<li>{}</li>\n", escape_html(text));
    };
    item(
        "Nats per token are sum(NLL) / sum(tokens); perplexity is their exponential; bits per byte "
        "are "
        "sum(NLL) / (ln 2 * bytes of the scored text). Nothing is averaged after exponentiation.");
    item(
        "Accuracy: Wilson's interval where every item has a context of its own (Clopper-Pearson at "
        "0 "
        "and 100 %); where several questions share a context, a BCa bootstrap that resamples "
        "contexts.");
    item(
        "Nats: a BCa bootstrap over blocks of 512 scored tokens; curves by position, over "
        "streams.");
    item(
        "Differences: the same bootstraps over paired items; where all pairs agree, "
        "Clopper-Pearson "
        "bounds what so few contexts could have missed. p: McNemar's exact test, or a sign-flip "
        "permutation test over contexts or blocks; Holm adjusts it over the methods of one task.");
    item(fmt::format(
        "Bootstraps draw {} resamples with seed {}; fewer than {} units give no interval.",
        thousands(options.resamples), options.seed, kMinimumUnits));
    item("Every number on this page was computed from the rows of items.jsonl.");
    out_ += "</ul>\n";
  }

  const Digest& digest_;
  const Run& run_;
  std::string out_;
  int figures_ = 0;
};

}  // namespace

std::string html_page(const Digest& digest) {
  const std::string title = escape_html(
      fmt::format("{} \u00B7 kvgauge {}", digest.run->model, digest.run->run_id.substr(0, 8)));
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         title + "</title>\n<style>\n" + page_style() + "</style>\n</head>\n<body>\n" +
         Page(digest).body() + "</main>\n<footer>" +
         escape_html(digest.run->provenance_value("tool")) + "</footer>\n</body>\n</html>\n";
}

}  // namespace kvg::reports
