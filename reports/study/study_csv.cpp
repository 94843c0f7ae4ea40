#include "reports/study/study_csv.h"

#include "base/names.h"
#include "reports/study/study_tables.h"
#include "reports/text.h"

#include <fmt/format.h>

namespace kvg::reports {

namespace {

std::string line_of(std::vector<std::string> fields) {
  for (std::string& field : fields) field = csv_field(field);
  return join(fields, ",") + "\n";
}

std::string number(double value) { return fmt::format("{:.8g}", value); }

template <typename T>
std::string number_or_none(const std::optional<T>& value) {
  return value ? fmt::format("{:.15g}", static_cast<double>(*value)) : "";
}

std::string_view role_name(ArmRole role) {
  return role == ArmRole::kFactorial ? "factorial"
         : role == ArmRole::kControl ? "control"
                                     : "reference";
}

// A quantity with the part of its items that it is about.
struct Part {
  std::string name;
  Quantity quantity;
};

std::vector<std::string> numbers_of(const Effect& effect, const SeededEffect* over_seeds) {
  const auto bound = [](const std::optional<Interval>& interval, double Interval::*side) {
    return interval ? number((*interval).*side) : std::string();
  };
  const bool seeds = over_seeds != nullptr && over_seeds->deviation.has_value();
  return {number(effect.value),
          bound(effect.interval, &Interval::low),
          bound(effect.interval, &Interval::high),
          seeds ? number(*over_seeds->deviation) : "",
          seeds ? bound(over_seeds->seed_interval, &Interval::low) : "",
          seeds ? bound(over_seeds->seed_interval, &Interval::high) : "",
          std::to_string(effect.items),
          std::to_string(effect.units),
          std::to_string(effect.left_out)};
}

// Lines of one contrast: a seed each, and the mean over them.
std::string lines_of(const Part& part, const SeededEffect& effect, bool with_p) {
  std::string out;
  const auto add = [&](const std::string& seed, const Effect& one, const SeededEffect* over_seeds) {
    std::vector<std::string> fields = {part.quantity.measure->title, part.name,
                                       part.quantity.share ? "share" : part.quantity.unit,
                                       effect.name, seed};
    const std::vector<std::string> numbers = numbers_of(one, over_seeds);
    fields.insert(fields.end(), numbers.begin(), numbers.end());
    if (with_p) {
      fields.push_back(number(one.p));
      fields.push_back(over_seeds != nullptr ? number(effect.adjusted_p) : "");
    }
    out += line_of(std::move(fields));
  };
  for (const auto& [seed, one] : effect.seeds) add(std::to_string(seed), one, nullptr);
  if (effect.mean) add("mean", *effect.mean, &effect);
  return out;
}

void add_parts(const TitledQuantities& quantities, const std::string& axis,
               std::vector<Part>* parts) {
  for (const auto& [title, quantity] : quantities) {
    parts->push_back({fmt::format("{}={}", axis, title), quantity});
  }
}

// "all", or what is special about the quantity, its title being that of its measure otherwise.
std::string whole_part(const Quantity& quantity) {
  const std::string& title = quantity.measure->title;
  if (quantity.title == title) return "all";
  return quantity.title.starts_with(title + ", ") ? quantity.title.substr(title.size() + 2)
                                                  : quantity.title;
}

std::vector<Part> whole_parts(const Study& study) {
  std::vector<Part> parts;
  for (const auto& quantities : {likelihoods(study), scores(study), gold_answers(study)}) {
    for (const Quantity& quantity : quantities) parts.push_back({whole_part(quantity), quantity});
  }
  for (const auto& chain : retentions(study)) {
    for (const Quantity& quantity : chain) parts.push_back({whole_part(quantity), quantity});
  }
  return parts;
}

}  // namespace

std::string arms_csv(const Study& study) {
  std::string out =
      "arm,seed,role,model,model_sha256,base_sha256,data_sha256,method,bytes,tokens,steps,seconds,"
      "tokens_per_second,peak_bytes,parameters_trained,device,run_id,build,git_commit\n";
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      const TrainingLog log = run.training.value_or(TrainingLog{});
      const auto& sizes = run.method->provisioned;
      out += line_of(
          {arm.name, std::to_string(run.entry->seed), std::string(role_name(arm.role)),
           run.run->model, run.run->model_hash, log.base_sha256, log.data_sha256,
           run.method->method, sizes.empty() ? "" : std::to_string(sizes.back().bytes.total),
           number_or_none(log.tokens), number_or_none(log.steps), number_or_none(log.seconds),
           number_or_none(log.tokens_per_second), number_or_none(log.peak_bytes),
           number_or_none(log.parameters_trained), log.device, run.run->run_id, run.run->build,
           run.run->provenance_value("git_commit")});
    }
  }
  return out;
}

std::string estimates_csv(const Study& study) {
  std::vector<Part> parts = whole_parts(study);
  for (const Quantity& quantity : likelihoods(study)) {
    add_parts(by_position(study, *quantity.measure), "position", &parts);
  }
  for (const Quantity& quantity : scores(study)) {
    const std::string prefix = whole_part(quantity) == "all" ? "" : whole_part(quantity) + ", ";
    add_parts(by_axis(study, quantity, "length"), prefix + "length", &parts);
    if (!quantity.evidence) continue;
    add_parts(by_axis(study, quantity, "depth"), prefix + "depth", &parts);
    add_parts(by_stratum(study, quantity, "overlap_bin"), prefix + "overlap", &parts);
  }
  std::string out =
      "measure,part,unit,arm,seed,value,low,high,deviation,seed_low,seed_high,items,units,"
      "left_out\n";
  for (const Part& part : parts) {
    for (const Arm& arm : study.arms) {
      out += lines_of(part, seeded_effect(part.quantity, mean_of(arm), study.options), false);
    }
  }
  return out;
}

std::string effects_csv(const Study& study) {
  std::string out =
      "measure,part,unit,effect,seed,value,low,high,deviation,seed_low,seed_high,items,units,"
      "left_out,p,p_holm\n";
  for (const Part& part : whole_parts(study)) {
    std::vector<std::vector<ArmContrast>> families = {control_contrasts(study)};
    if (study.factorial) families.insert(families.begin(), factorial_contrasts(*study.factorial));
    for (const auto& contrasts : families) {
      for (const SeededEffect& effect : family(part.quantity, contrasts, study.options)) {
        out += lines_of(part, effect, true);
      }
    }
  }
  return out;
}

std::string training_csv(const Study& study) {
  std::string out = "arm,seed,step,series,value\n";
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      if (!run.training) continue;
      for (const TrainingPoint& point : run.training->curve) {
        for (const auto& [series, value] : point.values) {
          out += line_of({arm.name, std::to_string(run.entry->seed), std::to_string(point.step),
                          series, number(value)});
        }
      }
    }
  }
  return out;
}

}  // namespace kvg::reports
