#include "reports/page.h"

#include "base/names.h"
#include "reports/figures.h"
#include "reports/page_writer.h"
#include "reports/summary.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <fmt/format.h>

namespace kvg::reports {

namespace {

class Page : private PageWriter {
 public:
  explicit Page(const Digest& digest) : digest_(digest), run_(*digest.run) {}

  std::string body() {
    add_header();
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
    return take();
  }

 private:
  void add_header() {
    const std::string commit = run_.provenance_value("git_commit").substr(0, 12);
    header(
        "kvgauge run report", fmt::format("What each cache keeps on {}", run_.model),
        {{"run", run_.run_id.substr(0, 16)},
         {"suite", run_.suite},
         {"started", printed_time(run_.provenance_value("started"))},
         {"commit", run_.provenance_value("git_dirty") == "true" ? commit + " (modified)" : commit},
         {"seed", std::to_string(run_.seed)}});
  }

  void warnings() {
    if (const std::string why = incompleteness(run_); !why.empty()) incomplete(why);
    std::vector<std::string> notes = run_.notes;
    for (const std::string& warning : size_warnings(digest_)) notes.push_back(warning);
    list(notes, "notes");
  }

  void summary() {
    const Summary summary = summarise(digest_);
    paragraph(summary.measured, "lead");
    if (!summary.main.empty()) paragraph(join(summary.main, " "), "lead");
    raw("<ul class=\"findings\">\n");
    for (const Summary::Finding& finding : summary.findings) {
      raw(
          fmt::format("<li><span class=\"who\"><i class=\"sw {}\"></i>{}</span><span "
                      "class=\"size\">{}</span><span>",
                      finding.method->style.css_class, escape_html(finding.method->label),
                      escape_html(finding.size)));
      for (const Summary::Statement& statement : finding.statements) {
        raw("<span class=\"say\">");
        if (statement.verdict) raw(verdict_chip(*statement.verdict) + " ");
        raw(escape_html(statement.text) + "</span> ");
      }
      raw("</span></li>\n");
    }
    raw("</ul>\n");
  }

  void results() {
    heading("Results");
    for (const auto& group : rows_of(digest_.leading_measures())) {
      raw(to_html(result_table(digest_, group)));
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
    raw(to_html(table));
  }

  void likelihood() {
    const Measure* measure = digest_.headline_likelihood();
    if (measure == nullptr) return;
    heading("Perplexity");
    raw(to_html(likelihood_table(digest_)));
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
    retention(measure);
    strata(measure);
    examples(measure);
  }

  void retention(const Measure& measure) {
    const Table table = retention_table(digest_, measure);
    if (table.rows.empty()) return;
    subheading("Where answers are lost");
    paragraph(
        "Stored: when the answer began, at least one layer could still read every token of the "
        "value as itself. Read: while the answer was due, one head's net attention to the value "
        "was large enough (SCHEMA.md, read_weight). Right where it was not stored: told from a "
        "part or an average of it, or guessed. Intervals over items: Wilson's, Clopper-Pearson at "
        "0 "
        "and 100 %.",
        "note");
    raw(to_html(table));
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
      raw(to_html(breakdown_table(digest_, kinds, "")));
    }
    figure({strata_figure(digest_, measure, "overlap_bin", "By overlap of wording",
                          "share of words that question and evidence have in common")},
           "Right answers by lexical overlap (Jaccard, entity and value taken out). Where the line "
           "falls to the left, the method finds words rather than meanings.");
  }

  void examples(const Measure& measure) {
    const Table table = example_table(digest_, measure, 8);
    if (table.rows.empty()) return;
    raw(fmt::format(
        "<details><summary>Answers that tell the methods apart ({} of {})</summary>\n<div "
        "class=\"wide\">",
        table.rows.size(), escape_html(measure.title)));
    raw(to_html(table) + "</div></details>\n");
  }

  void memory() {
    heading("Memory");
    paragraph(
        fmt::format("Bytes that each cache occupies when provisioned for {} tokens, all layers, "
                    "counted and not estimated, and the most that any item had in use.",
                    thousands(digest_.longest)));
    raw(to_html(memory_table(digest_)));
  }

  void failures() {
    heading("Failures and generation");
    const Table table = failure_table(digest_);
    if (table.rows.empty()) {
      paragraph("No item and no method failed.");
    } else {
      paragraph(
          "Failed items count as wrong answers; in perplexity they are left out of the mean.");
      raw(to_html(table));
    }
    raw("<details><summary>Length of the answers</summary>\n");
    raw(to_html(behaviour_table(digest_)) + "</details>\n");
  }

  void reproduction() {
    heading("Reproduction");
    if (!run_.command.empty()) {
      raw(fmt::format("<pre>{}</pre>\n", escape_html(join(run_.command, " "))));
    }
    raw("<div class=\"kv\">" + to_html(method_table(digest_)) + "</div>\n");
    raw("<details open><summary>Request, hashes and environment</summary>\n<div class=\"kv\">");
    raw(to_html(provenance_table(digest_)) + "</div></details>\n");
  }

  void definitions() {
    heading("How to read the numbers");
    const auto& options = digest_.options;
    list({"Nats per token are sum(NLL) / sum(tokens); perplexity is their exponential; bits per "
          "byte "
          "are "
          "sum(NLL) / (ln 2 * bytes of the scored text). Nothing is averaged after exponentiation.",
          "Accuracy: Wilson's interval where every item has a context of its own (Clopper-Pearson "
          "at "
          "0 "
          "and 100 %); where several questions share a context, a BCa bootstrap that resamples "
          "contexts.",
          "Nats: a BCa bootstrap over blocks of 512 scored tokens; curves by position, over "
          "streams.",
          "Differences: the same bootstraps over paired items; where all pairs agree, "
          "Clopper-Pearson "
          "bounds what so few contexts could have missed. p: McNemar's exact test, or a sign-flip "
          "permutation test over contexts or blocks; Holm adjusts it over the methods of one task.",
          fmt::format(
              "Bootstraps draw {} resamples with seed {}; fewer than {} units give no interval.",
              thousands(options.resamples), options.seed, kMinimumUnits),
          "Every number on this page was computed from the rows of items.jsonl."},
         "note");
  }

  const Digest& digest_;
  const Run& run_;
};

}  // namespace

std::string html_page(const Digest& digest) {
  return html_document(
      fmt::format("{} \u00B7 kvgauge {}", digest.run->model, digest.run->run_id.substr(0, 8)),
      Page(digest).body(), digest.run->provenance_value("tool"));
}

}  // namespace kvg::reports
