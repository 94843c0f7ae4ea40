#include "reports/summary.h"

#include "base/names.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

std::string count_of(int64_t n, const std::string& noun) {
  return thousands(n) + " " + noun + (n == 1 ? "" : "s");
}

// "a, b and c"
std::string enumerate(const std::vector<std::string>& parts, const std::string& last = "and") {
  if (parts.size() < 2) return join(parts);
  const std::vector<std::string> head(parts.begin(), parts.end() - 1);
  return join(head) + " " + last + " " + parts.back();
}

int64_t scored_tokens(const Digest& digest, const Measure& measure) {
  int64_t tokens = 0;
  for (const Item* item : digest.items(measure, 0)) {
    if (item->likelihood) tokens += item->likelihood->tokens;
  }
  return tokens;
}

std::string measured_text(const Digest& digest) {
  int64_t methods = 0, controls = 0;
  for (const MethodView& method : digest.methods) {
    methods += method.record->role == Role::kMethod ? 1 : 0;
    controls += method.record->role == Role::kControl ? 1 : 0;
  }
  std::vector<std::string> tasks;
  for (const Measure& measure : digest.measures) {
    const auto& metric = measure.metrics[0];
    if (!metric) continue;
    if (measure.likelihood) {
      tasks.push_back(fmt::format("{} of {} in {}",
                                  count_of(scored_tokens(digest, measure), "token"), measure.title,
                                  count_of(metric->n, "stream")));
    } else if (metric->units == metric->n) {
      tasks.push_back(fmt::format("{} of {}", count_of(metric->n, "item"), measure.title));
    } else {
      tasks.push_back(fmt::format("{} of {} over {}", count_of(metric->n, "question"),
                                  measure.title, count_of(metric->units, "context")));
    }
  }
  const std::string others =
      count_of(methods, "cache method") +
      (controls > 0 ? " and " + count_of(controls, "control") : std::string());
  return fmt::format("{} ran with the {} cache{} on {}. The longest context has {} tokens.",
                     digest.run->model, digest.reference().label,
                     methods + controls > 0 ? ", and with " + others + " on the same items," : "",
                     enumerate(tasks), thousands(digest.longest));
}

std::string relative_text(const Paired& paired) {
  return signed_fixed(paired.difference / paired.baseline * 100, 1) + "\u00A0%";
}

std::string size_text(const Digest& digest, const MethodView& method) {
  const ProvisionedBytes* own = provisioned(*method.record, digest.longest);
  const ProvisionedBytes* full = provisioned(*digest.reference().record, digest.longest);
  if (own == nullptr || full == nullptr) return "size unknown";
  const auto bytes = static_cast<double>(own->bytes.total);
  if (&method == &digest.reference()) return human_bytes(bytes);
  return fmt::format("{}, {} of {}", human_bytes(bytes),
                     ratio_text(bytes, static_cast<double>(full->bytes.total)),
                     digest.reference().label);
}

std::string contrast_text(const Measure& measure, const Contrast& contrast) {
  const Paired& paired = contrast.paired;
  std::string text =
      measure.likelihood
          ? fmt::format("perplexity {} against {} ({} nats per token)",
                        fixed(std::exp(paired.candidate), 2), fixed(std::exp(paired.baseline), 2),
                        relative_text(paired))
          : fmt::format("{} {} against {} ({} points)", measure.title, percent(paired.candidate),
                        percent(paired.baseline), signed_fixed(paired.difference * 100, 1));
  if (contrast.verdict == Verdict::kInconclusive) {
    text += fmt::format("; {} {} are too few to say", thousands(paired.units),
                        measure.likelihood             ? "blocks of tokens"
                        : paired.units == paired.pairs ? "items"
                                                       : "contexts");
  }
  return text;
}

std::string reference_text(const Measure& measure) {
  const Metric& metric = *measure.metrics[0];
  return measure.likelihood ? fmt::format("perplexity {} ({} nats per token)",
                                          fixed(std::exp(metric.value), 2), fixed(metric.value, 3))
                            : fmt::format("{} {}", measure.title, percent(metric.value));
}

std::vector<Summary::Statement> statements_of(const Digest& digest, size_t m) {
  std::vector<Summary::Statement> statements;
  for (const Measure* measure : digest.leading_measures()) {
    if (m == 0 && measure->metrics[0]) {
      statements.push_back({reference_text(*measure), std::nullopt});
    } else if (const auto& contrast = measure->contrasts[m]) {
      statements.push_back({contrast_text(*measure, *contrast), contrast->verdict});
    }
  }
  if (statements.empty()) statements.push_back({"nothing was measured", std::nullopt});
  const std::string& error = digest.methods[m].record->error;
  if (!error.empty()) statements.push_back({"failed: " + shorten(error, 160), std::nullopt});
  return statements;
}

// The best methods of a measure (several when they are equal, none without any), and the labels of
// those that keep the reference's quality.
std::vector<size_t> best_methods(const Digest& digest, const Measure& measure,
                                 std::vector<std::string>* keeping) {
  std::vector<size_t> best;
  const double sign = measure.likelihood ? -1 : 1;
  for (size_t m = 1; m < digest.methods.size(); ++m) {
    const auto& contrast = measure.contrasts[m];
    if (digest.methods[m].record->role != Role::kMethod || !contrast) continue;
    if (contrast->verdict == Verdict::kSame || contrast->verdict == Verdict::kBetter) {
      keeping->push_back(digest.methods[m].label);
    }
    const double gain =
        best.empty()
            ? 1
            : sign * (contrast->paired.difference - measure.contrasts[best[0]]->paired.difference);
    if (gain > 0) best.clear();
    if (gain >= 0) best.push_back(m);
  }
  return best;
}

// Whether the reference rises above the floor: above nothing, and above the question alone where
// that was asked.
bool reference_solves(const Measure& measure) {
  const auto& reference = measure.metrics[0];
  if (measure.likelihood || !reference) return true;
  if (reference->value <= 0) return false;
  const auto& floor = measure.closed_book;
  if (!floor || !reference->interval || !floor->interval) return true;
  return reference->interval->low > floor->interval->high;
}

std::vector<std::string> main_result(const Digest& digest) {
  std::vector<std::string> kept, lost;
  std::vector<std::pair<std::string, std::vector<std::string>>> nearest;  // method, its numbers
  for (const Measure* measure : digest.leading_measures()) {
    if (!reference_solves(*measure)) continue;  // nothing that could be kept
    std::vector<std::string> keeping;
    const std::vector<size_t> best = best_methods(digest, *measure, &keeping);
    if (best.empty()) continue;
    if (!keeping.empty()) {
      kept.push_back(fmt::format("on {} by {}", measure->title, enumerate(keeping)));
      continue;
    }
    const Paired& paired = measure->contrasts[best[0]]->paired;
    std::vector<std::string> labels;
    for (const size_t m : best) labels.push_back(digest.methods[m].label);
    const std::string label =
        labels.size() > 3 ? fmt::format("{} methods alike", labels.size()) : enumerate(labels);
    lost.push_back(measure->title);
    if (nearest.empty() || nearest.back().first != label) nearest.push_back({label, {}});
    nearest.back().second.push_back(
        measure->likelihood
            ? fmt::format("perplexity {} against {}", fixed(std::exp(paired.candidate), 2),
                          fixed(std::exp(paired.baseline), 2))
            : fmt::format("{} {} against {}", measure->title, percent(paired.candidate),
                          percent(paired.baseline)));
  }
  std::vector<std::string> sentences;
  const std::string& reference = digest.reference().label;
  if (!kept.empty()) {
    sentences.push_back(
        fmt::format("The quality of the {} cache is kept {}.", reference, enumerate(kept)));
  }
  if (lost.empty()) return sentences;
  std::vector<std::string> texts;
  for (const auto& [label, numbers] : nearest) {
    texts.push_back(fmt::format("{} ({})", label, join(numbers, ", ")));
  }
  const std::string quality =
      kept.empty() ? fmt::format("the quality of the {} cache", reference) : "it";
  sentences.push_back(
      fmt::format("No method is shown to keep {} on {}; {} {}.", quality, enumerate(lost, "or"),
                  texts.size() == 1 ? "the nearest is" : "the nearest are", join(texts, "; ")));
  return sentences;
}

// Tasks that the reference itself does not solve show nothing about caches.
std::vector<std::string> unsolved_tasks(const Digest& digest) {
  std::vector<std::string> sentences;
  for (const Measure& measure : digest.measures) {
    if (reference_solves(measure)) continue;
    const std::string floor =
        measure.closed_book ? " (" + percent(measure.closed_book->value) + ")" : "";
    sentences.push_back(fmt::format(
        "On {} the {} cache itself ({}) is not shown to rise above the question alone{}: what "
        "other caches lose there cannot be seen.",
        measure.title, digest.reference().label, percent(measure.metrics[0]->value), floor));
  }
  return sentences;
}

}  // namespace

Summary summarise(const Digest& digest) {
  Summary summary;
  summary.measured = measured_text(digest);
  summary.main = main_result(digest);
  for (std::string& sentence : unsolved_tasks(digest)) summary.main.push_back(std::move(sentence));
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    summary.findings.push_back(
        {&digest.methods[m], size_text(digest, digest.methods[m]), statements_of(digest, m)});
  }
  return summary;
}

std::string incompleteness(const Run& run) {
  if (run.complete()) return "";
  std::string text =
      fmt::format("status {}, {} of {} planned items", run.status,
                  thousands(static_cast<int64_t>(run.items.size())), thousands(run.planned_items));
  if (!run.error.empty()) text += ": " + run.error;
  return text;
}

}  // namespace kvg::reports
