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
std::string enumerate(const std::vector<std::string>& parts) {
  if (parts.size() < 2) return join(parts);
  const std::vector<std::string> head(parts.begin(), parts.end() - 1);
  return join(head) + " and " + parts.back();
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
  return fmt::format(
      "{}{} ran on {} beside the {} cache, on the same {}. The longest context has {} tokens.",
      count_of(methods, "cache method"),
      controls > 0 ? " and " + count_of(controls, "control") : "", digest.run->model,
      digest.reference().label, enumerate(tasks), thousands(digest.longest));
}

std::string relative_text(const Paired& paired) {
  return signed_fixed(paired.difference / paired.baseline * 100, 1) + "\u00A0%";
}

std::string likelihood_finding(const Contrast& contrast, const std::string& reference) {
  const Paired& paired = contrast.paired;
  const std::string change =
      fmt::format("{} nats per token, perplexity {} instead of {}", relative_text(paired),
                  fixed(std::exp(paired.candidate), 2), fixed(std::exp(paired.baseline), 2));
  switch (contrast.verdict) {
    case Verdict::kSame:
      return fmt::format("predicts text as well as {} ({})", reference, change);
    case Verdict::kWorse:
      return fmt::format("predicts text worse than {} ({})", reference, change);
    case Verdict::kBetter:
      return fmt::format("predicts text better than {} ({})", reference, change);
    case Verdict::kInconclusive:
      break;
  }
  return fmt::format("may or may not predict text as well as {} ({}; too little data to say)",
                     reference, change);
}

std::string accuracy_finding(const Measure& measure, const Contrast& contrast) {
  const Paired& paired = contrast.paired;
  const std::string score = fmt::format("{} of {}", percent(paired.candidate), measure.title);
  const std::string change = fmt::format("{} points {}", signed_fixed(paired.difference * 100, 1),
                                         interval_text(paired.interval, 100, 1, true));
  switch (contrast.verdict) {
    case Verdict::kSame:
      return fmt::format("answers {}, the same ({})", score, change);
    case Verdict::kWorse:
      return fmt::format("answers {}, worse by {} points", score,
                         fixed(std::abs(paired.difference) * 100, 1));
    case Verdict::kBetter:
      return fmt::format("answers {}, better by {} points", score,
                         fixed(std::abs(paired.difference) * 100, 1));
    case Verdict::kInconclusive:
      break;
  }
  return fmt::format("answers {} ({}; too few items to say)", score, change);
}

std::string size_text(const Digest& digest, const MethodView& method) {
  const ProvisionedBytes* own = provisioned(*method.record, digest.longest);
  const ProvisionedBytes* full = provisioned(*digest.reference().record, digest.longest);
  if (own == nullptr || full == nullptr) return "occupies an unknown number of bytes";
  const auto bytes = static_cast<double>(own->bytes.total);
  if (&method == &digest.reference()) return fmt::format("occupies {}", human_bytes(bytes));
  return fmt::format("occupies {}, {} of {}", human_bytes(bytes),
                     ratio_text(bytes, static_cast<double>(full->bytes.total)),
                     digest.reference().label);
}

std::string finding_text(const Digest& digest, size_t m) {
  const MethodView& method = digest.methods[m];
  std::vector<std::string> parts;
  for (const Measure& measure : digest.measures) {
    if (measure.likelihood && &measure != digest.headline_likelihood()) continue;
    if (m == 0 && measure.metrics[0]) {
      const Metric& metric = *measure.metrics[0];
      parts.push_back(measure.likelihood
                          ? fmt::format("predicts text at {} nats per token (perplexity {})",
                                        fixed(metric.value, 3), fixed(std::exp(metric.value), 2))
                          : fmt::format("answers {} of {}", percent(metric.value), measure.title));
    } else if (const auto& contrast = measure.contrasts[m]) {
      parts.push_back(measure.likelihood ? likelihood_finding(*contrast, digest.reference().label)
                                         : accuracy_finding(measure, *contrast));
    }
  }
  std::string text = size_text(digest, method);
  text += parts.empty() ? ". Nothing was measured on it." : ". It " + enumerate(parts) + ".";
  if (!method.record->error.empty())
    text += " It failed: " + shorten(method.record->error, 160) + ".";
  return text;
}

bool keeps(const Measure& measure, size_t m) {
  const auto& contrast = measure.contrasts[m];
  return contrast && (contrast->verdict == Verdict::kSame || contrast->verdict == Verdict::kBetter);
}

// Which method is best in a measure, and which ones keep the reference's quality.
std::string best_text(const Digest& digest, const Measure& measure) {
  size_t best = 0;
  std::vector<std::string> keeping;
  for (size_t m = 1; m < digest.methods.size(); ++m) {
    if (digest.methods[m].record->role != Role::kMethod || !measure.contrasts[m]) continue;
    if (keeps(measure, m)) keeping.push_back(digest.methods[m].label);
    const double sign = measure.likelihood ? -1 : 1;
    if (best == 0 || sign * measure.contrasts[m]->paired.difference >
                         sign * measure.contrasts[best]->paired.difference) {
      best = m;
    }
  }
  if (best == 0) return "";
  const Paired& paired = measure.contrasts[best]->paired;
  const std::string numbers =
      measure.likelihood
          ? fmt::format("{}, {} nats per token", digest.methods[best].label, relative_text(paired))
          : fmt::format("{}, {} against {}", digest.methods[best].label, percent(paired.candidate),
                        percent(paired.baseline));
  if (keeping.empty()) {
    return fmt::format(
        "On {} no method is shown to keep the quality of the {} cache; the nearest is {}.",
        measure.title, digest.reference().label, numbers);
  }
  return fmt::format("On {} the quality of the {} cache is kept by {}.", measure.title,
                     digest.reference().label, enumerate(keeping));
}

}  // namespace

Summary summarise(const Digest& digest) {
  Summary summary;
  summary.measured = measured_text(digest);
  for (const Measure& measure : digest.measures) {
    if (measure.likelihood && &measure != digest.headline_likelihood()) continue;
    if (std::string text = best_text(digest, measure); !text.empty()) summary.main.push_back(text);
  }
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    summary.findings.push_back({&digest.methods[m], finding_text(digest, m)});
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
