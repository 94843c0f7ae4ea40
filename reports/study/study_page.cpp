#include "reports/study/study_page.h"

#include "base/names.h"
#include "reports/study/study_figures.h"
#include "reports/study/study_tables.h"
#include "reports/study/study_writer.h"
#include "reports/text.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

TitledQuantities titled(const std::vector<Quantity>& quantities) {
  TitledQuantities result;
  for (const Quantity& quantity : quantities) result.emplace_back(quantity.title, quantity);
  return result;
}

// What fits side by side: groups of at most `most`, as even as can be.
template <typename T>
std::vector<std::vector<T>> groups_of(const std::vector<T>& all, size_t most) {
  std::vector<std::vector<T>> groups;
  const size_t count = (all.size() + most - 1) / most;
  for (size_t g = 0; g < count; ++g) {
    groups.emplace_back(all.begin() + static_cast<long>(g * all.size() / count),
                        all.begin() + static_cast<long>((g + 1) * all.size() / count));
  }
  return groups;
}

class StudyPage {
 public:
  explicit StudyPage(const Study& study)
      : study_(study),
        likelihoods_(likelihoods(study)),
        scores_(scores(study)),
        gold_(gold_answers(study)) {}

  StudyDocuments documents() {
    opening();
    const std::vector<std::string> findings = study_findings(study_);
    if (!findings.empty()) out_.heading("In short");
    out_.list(findings, "notes");
    arms();
    factorial();
    controls();
    positions();
    retrieval();
    retention();
    training();
    provenance();
    definitions();
    StudyDocuments documents;
    documents.html = html_document(study_.file.title + " \u00B7 kvgauge study", out_.take_html(),
                                   study_.arms[0].seeds[0].run->provenance_value("tool"));
    documents.markdown = out_.take_markdown();
    documents.summary = study_.file.title + "\n\n";
    for (const std::string& line : findings) documents.summary += line + "\n";
    for (const std::string& note : study_.notes) documents.summary += "note: " + note + "\n";
    documents.summary = valid_utf8(documents.summary);
    return documents;
  }

 private:
  // Everything that was decided before the numbers.
  void opening() {
    std::set<std::string> models, devices;
    std::set<int64_t> seeds;
    for (const Arm& arm : study_.arms) {
      for (const ArmRun& run : arm.seeds) {
        models.insert(run.training && !run.training->base.empty() ? run.training->base
                                                                  : run.run->model);
        seeds.insert(run.entry->seed);
        if (run.training && !run.training->device.empty()) devices.insert(run.training->device);
      }
    }
    std::vector<std::string> printed_seeds;
    for (const int64_t seed : seeds) printed_seeds.push_back(std::to_string(seed));
    std::vector<std::pair<std::string, std::string>> facts = {
        {"models", join(std::vector<std::string>(models.begin(), models.end()))},
        {"arms", std::to_string(study_.arms.size())},
        {"training seeds", join(printed_seeds)}};
    if (!devices.empty()) {
      facts.emplace_back("trained on",
                         join(std::vector<std::string>(devices.begin(), devices.end())));
    }
    out_.header("kvgauge study", study_.file.title, facts);
    out_.markdown(study_.file.intro);
    out_.heading("Rules of interpretation");
    out_.markdown(study_.file.rules);
    out_.list(study_.notes, "notes");
  }

  void arms() {
    out_.heading("The arms");
    out_.paragraph(
        "Each arm with its own cache, mean over its seeds. In brackets: 95 % intervals over the "
        "items, given these seeds; SD: standard deviation between seeds.");
    for (const auto* family : {&likelihoods_, &scores_, &gold_}) {
      for (const auto& group : groups_of(titled(*family), 4)) {
        out_.table(arm_table(study_, group));
      }
    }
    for (const auto* family : {&likelihoods_, &scores_, &gold_}) {
      for (const auto& group : groups_of(titled(*family), 4)) {
        out_.folded("Every seed: " + names_of(group), seed_table(study_, group));
      }
    }
    out_.subheading("What they cost");
    out_.table(cost_table(study_));
  }

  static std::string names_of(const TitledQuantities& group) {
    std::vector<std::string> names;
    for (const auto& [title, quantity] : group) names.push_back(title);
    return join(names);
  }

  void factorial() {
    if (!study_.factorial) return;
    const auto& [a, b] = study_.factorial->factors;
    out_.heading(fmt::format("The 2\u00D72: {} and {}", a, b));
    out_.paragraph(fmt::format(
        "The effect of {1} is the arm with {1} on minus the arm with {1} off, under the same seed "
        "on the same items. It is taken where {0} is off and where {0} is on; the interaction is "
        "the second minus the first. For nats a positive effect is a loss, so a negative "
        "interaction says that {1} costs less where {0} is on. For right answers (in points) it "
        "is the other way round.",
        a, b));
    const std::vector<Quantity> all = every_quantity();
    out_.table(cell_table(study_, all));
    for (const auto* family : {&likelihoods_, &scores_, &gold_}) {
      for (const auto& group : groups_of(*family, 3)) {
        out_.figure({effect_figure(study_, group)},
                    "Effects, means over seeds, with 95 % intervals over items; the interaction "
                    "of every seed below its mean.");
      }
    }
    for (const Quantity& quantity : all) {
      const std::vector<SeededEffect> effects =
          family(quantity, factorial_contrasts(*study_.factorial), study_.options);
      if (effects.empty()) continue;
      out_.folded(fmt::format("Effects on {}, seed by seed", quantity.title),
                  effect_table(quantity, effects));
    }
  }

  std::vector<Quantity> every_quantity() const {
    std::vector<Quantity> all = likelihoods_;
    all.insert(all.end(), scores_.begin(), scores_.end());
    all.insert(all.end(), gold_.begin(), gold_.end());
    return all;
  }

  void controls() {
    if (control_contrasts(study_).empty()) return;
    out_.heading("Controls");
    out_.paragraph(
        "Each control minus the arm that it leaves something out of, paired item by item under the "
        "seeds that both have. A control that does as well as its arm says that what it leaves out "
        "earned nothing. p: signs flipped over items, adjusted by Holm over the controls of a "
        "column; columns are not adjusted for each other.");
    for (const auto* family : {&likelihoods_, &scores_, &gold_}) {
      for (const auto& group : groups_of(*family, 3)) {
        out_.table(control_difference_table(study_, group));
        out_.figure({control_figure(study_, group)},
                    "Controls minus the arms they are compared with, with 95 % intervals over "
                    "items.");
      }
    }
    for (const Quantity& quantity : every_quantity()) {
      const auto effects = family(quantity, control_contrasts(study_), study_.options);
      if (effects.empty()) continue;
      out_.folded(fmt::format("Controls on {}, seed by seed", quantity.title),
                  effect_table(quantity, effects));
    }
  }

  void positions() {
    for (const Measure& measure : study_.measures) {
      if (!measure.likelihood) continue;
      const TitledQuantities ranges = by_position(study_, measure);
      if (ranges.size() < 2) continue;
      out_.heading("By position: " + measure.title);
      out_.figure(
          {study_position_figure(study_, measure),
           study_position_difference_figure(study_, measure)},
          "Left, nats per token by how many tokens came before the scored one. Right, arms minus "
          "their counterparts (the same arm unbounded, or the arm that a control names), paired; "
          "bands are 95 % intervals over streams.");
      for (const auto& group : groups_of(ranges, 4)) out_.table(arm_table(study_, group));
      for (const auto& group : groups_of(ranges, 4)) out_.table(counterpart_table(study_, group));
    }
  }

  void retrieval() {
    size_t number = 0;
    for (const Quantity& score : scores_) {
      out_.heading(sentence_case(score.title));
      if (score.evidence) {
        out_.figure({study_depth_figure(study_, score, fmt::format("heat{}", number++))},
                    "Right answers in percent by depth and length, means over seeds. Hatched cells "
                    "hold fewer than 20 items: read rows and columns of them, not single cells.");
      }
      part("By length of the context", by_axis(study_, score, "length"));
      if (score.evidence) {
        part("By depth of the evidence (0 % is the beginning)", by_axis(study_, score, "depth"));
        part("By overlap of wording between question and evidence",
             by_stratum(study_, score, "overlap_bin"));
      }
      const Table floors = floor_table(study_, score);
      if (floors.columns.size() <= 2) continue;
      out_.subheading("Floors and ceilings");
      out_.paragraph(
          "What the same weights answer with other caches, without the context (closed-book) and "
          "with nothing but the evidence (oracle).",
          "note");
      out_.table(floors);
    }
  }

  void part(const std::string& title, const TitledQuantities& columns) {
    if (columns.size() < 2) return;
    out_.subheading(title);
    for (const auto& group : groups_of(columns, 5)) out_.table(arm_table(study_, group));
  }

  static std::string sentence_case(std::string title) {
    if (!title.empty()) {
      title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
    }
    return title;
  }

  void retention() {
    for (const std::vector<Quantity>& chain : retentions(study_)) {
      const std::string& task = chain[0].measure->title;
      out_.heading("Where answers are lost: " + task);
      out_.paragraph(
          "Was the evidence still stored when the question came, was it read given that it was "
          "stored, was the answer right given that it was read, and how often is it right without "
          "being stored. Shares are means over seeds, counts are of all seeds together.");
      out_.table(retention_table(study_, chain));
      if (study_.factorial) {
        std::vector<SeededEffect> effects;
        for (const Quantity& quantity : chain) {
          // Where the cache is bounded: elsewhere everything is stored.
          SeededEffect effect = seeded_effect(
              quantity, factorial_contrasts(*study_.factorial).back(), study_.options);
          if (!effect.mean) continue;
          effect.name = fmt::format("{}: {}", quantity.title, effect.name);
          effects.push_back(std::move(effect));
        }
        adjust(&effects);
        if (!effects.empty()) {
          out_.subheading(fmt::format("What {} changes", study_.factorial->factors[0]));
          out_.table(effect_table(chain[0], effects));
        }
      }
      out_.table(control_difference_table(study_, chain));
    }
  }

  void training() {
    const bool any = std::any_of(study_.arms.begin(), study_.arms.end(), [](const Arm& arm) {
      return std::any_of(arm.seeds.begin(), arm.seeds.end(),
                         [](const ArmRun& run) { return run.training.has_value(); });
    });
    if (!any) return;
    out_.heading("What moved in training");
    out_.list(unmoved(study_), "notes");
    out_.table(movement_table(study_));
    out_.figure({training_figure(study_, "loss", "Training loss", "nats per token"),
                 training_figure(study_, "gate_mean", "Write gate, mean", "gate")},
                "Means over seeds.");
  }

  void provenance() {
    out_.heading("Where the numbers come from");
    out_.table(study_provenance_table(study_));
    out_.commands("Commands of training and evaluation", study_commands(study_));
  }

  void definitions() {
    out_.heading("How to read the numbers");
    out_.list(
        {"Pairs: two arms are compared on the same items (same condition, task, cell and index, "
         "same question, same tokens) under the same training seed. Runs whose items differ are "
         "refused.",
         "Nats per token are sum(NLL) / sum(tokens). Units of the bootstrap are blocks of 512 "
         "scored tokens; by position, streams; for answers, contexts (questions about one context "
         "stay together).",
         "Right answers count questions that have an answer; those without one have rows of "
         "their own, since a cache that lost everything gets them right too. Failed items are "
         "wrong answers; without a likelihood they are left out and counted.",
         "Intervals over items: BCa bootstrap of the mean over seeds, every item drawn for all "
         "seeds at once; Wilson or Clopper-Pearson for one seed with one question a context, and "
         "Clopper-Pearson over contexts where all agree. They hold for these trained weights.",
         "Intervals over seeds: Student's t of the seeds' values. They hold for these items, and "
         "say what training again would change; from two or three seeds they are wide.",
         "Shares among the items that an arm stored or read have denominators of their own in "
         "each arm; their differences are bootstrapped to first order.",
         fmt::format("Bootstraps draw {} resamples with seed {}; fewer than {} units give no "
                     "interval. p: signs flipped over units, Holm within a table.",
                     thousands(study_.options.resamples), study_.options.seed, kMinimumUnits),
         "Every number was computed from the records named in study.yaml."},
        "note");
  }

  const Study& study_;
  std::vector<Quantity> likelihoods_, scores_, gold_;
  StudyWriter out_;
};

}  // namespace

StudyDocuments study_documents(const Study& study) { return StudyPage(study).documents(); }

}  // namespace kvg::reports
