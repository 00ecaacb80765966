#include "algorithms/em_m_step.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.hpp"

namespace tally {

std::string failure_of(const Model& model, const PassPart& part, int candidate, double objective, int iteration, Pass& pass) {
  if (part.tally().non_finite(candidate) > 0)
    return "the statistics of iteration " + std::to_string(iteration) +
           " are not finite: " + pass.impossible_row(part, candidate) +
           " is impossible under the parameters, or numbers leave their range (--device cpu has the widest)";
  if (std::isfinite(objective)) return "";
  if (std::isinf(objective) && !model.larger_is_better())
    return "the " + model.objective_name() + " overflows double precision; scale the data down";
  return "the " + model.objective_name() + " is " + std::to_string(objective) + " at iteration " +
         std::to_string(iteration) + ": " + pass.impossible_row(part, candidate) +
         " is impossible under the parameters; start from others";
}

void fail(Candidate& candidate, const std::string& why) {
  candidate.reason = StopReason::failed;
  candidate.failure = why;
}

std::vector<Degenerate> MStep::run(std::vector<double> statistics, int iteration, Candidate& candidate,
                                   std::vector<Degenerate>& degenerate) const {
  const std::vector<Degenerate> before = std::exchange(degenerate, advance(std::move(statistics), iteration, candidate));
  std::vector<Degenerate> reported = degenerate;
  if (policy_ != OnDegenerate::reseed)
    std::erase_if(reported, [&](const Degenerate& each) { return std::ranges::find(before, each) != before.end(); });
  return reported;
}

std::vector<Degenerate> MStep::advance(std::vector<double> statistics, int iteration, Candidate& candidate) const {
  std::vector<double> updated = candidate.parameters;
  std::vector<Degenerate> degenerate = model_.degenerate(statistics, weight_, candidate.parameters);
  try {
    if (degenerate.empty() || policy_ == OnDegenerate::floor)
      model_.maximize(statistics, weight_, updated);
    else
      repair(degenerate, statistics, updated);
  } catch (const DataError& error) {
    fail(candidate, std::string(error.what()) + " (iteration " + std::to_string(iteration) + ")");
    return {};
  }
  if (model_.stops_at_fixed_point() && updated == candidate.parameters) {
    candidate.reason = StopReason::fixed_point;
    return degenerate;
  }
  candidate.parameters = std::move(updated);
  ++candidate.m_steps;
  return degenerate;
}

void MStep::repair(std::span<const Degenerate> degenerate, std::span<double> statistics, std::span<double> parameters) const {
  if (policy_ == OnDegenerate::error) throw DataError(words_of(degenerate.front()));
  const double left = weight_ - model_.leave_out(degenerate, statistics);
  if (!(left > 1e-12 * weight_)) throw DataError("every component is degenerate; " + words_of(degenerate.front()));
  model_.maximize(statistics, left, parameters);
  if (policy_ == OnDegenerate::reseed) model_.split_heaviest(degenerate, parameters);
}

}  // namespace tally
