#include "launch/repairs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace tally {

void check_on_degenerate(const Model& model, OnDegenerate policy) {
  if (const std::string why = model.refuses(policy); !why.empty())
    throw UsageError(fmt::format("--on-degenerate {}: {}", to_string(policy), why));
}

namespace {

std::string words_of_repair(const Repair& repair) {
  const bool empty = repair.degenerate.column < 0;
  const std::string found = fmt::format("{} in iteration {}", words_of(repair.degenerate), repair.iteration);
  switch (repair.policy) {
    case OnDegenerate::floor: return found + (empty ? ": no row speaks for it" : ": the ridge keeps it from a point or a plane");
    case OnDegenerate::reseed: return found + ": it becomes one half of the heaviest";
    case OnDegenerate::prune: return found + ": it is pruned";
    case OnDegenerate::error: break;
  }
  return found;
}

}  // namespace

void tell(Progress& progress, const Repair& repair) {
  const Index column = repair.degenerate.column;
  progress.log(nlohmann::json{{"event", "degenerate"},
                              {"model", repair.model},
                              {"candidate", repair.candidate},
                              {"iteration", repair.iteration},
                              {"component", repair.degenerate.component},
                              {"column", column < 0 ? nlohmann::json() : nlohmann::json(column)},
                              {"action", to_string(repair.policy)}}
                   .dump());
  progress.note(repair.whose + words_of_repair(repair));
}

void drop_pruned(const Model& model, ModelRecord& record) {
  const std::vector<double> weights = record.parameters.at("weights").values;
  record.components = std::ranges::count_if(weights, [](double weight) { return weight > 0; });
  for (auto& [name, array] : record.parameters) {
    if (!model.has_row_per_component(name)) continue;
    const auto width = static_cast<std::ptrdiff_t>(array.values.size() / weights.size());
    std::vector<double> kept;
    for (std::size_t k = 0; k < weights.size(); ++k) {
      const auto row = array.values.begin() + static_cast<std::ptrdiff_t>(k) * width;
      if (weights[k] > 0) kept.insert(kept.end(), row, row + width);
    }
    array.values = std::move(kept);
    array.shape.front() = record.components;
  }
}

}  // namespace tally
