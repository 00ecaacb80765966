#include "algorithms/em_fit.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "algorithms/em_m_step.hpp"
#include "algorithms/em_pass.hpp"
#include "comm/in_seconds.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

// Takes the objective of the E-step just done and says whether the candidate ends with it.
void judge(Candidate& candidate, double objective, double weight, const FitOptions& options) {
  if (!candidate.trace.empty() && options.tolerance > 0 &&
      std::abs(objective - candidate.trace.back()) / weight < options.tolerance)
    candidate.reason = StopReason::converged;
  else if (candidate.m_steps >= options.max_iterations)
    candidate.reason = StopReason::iteration_limit;
  candidate.trace.push_back(objective);
}

// Whether one that ended by its limits would not have done so under these.
bool goes_on(const Candidate& candidate, const FitOptions& options, double weight) {
  if (candidate.m_steps >= options.max_iterations) return false;
  if (candidate.reason == StopReason::iteration_limit) return true;
  if (candidate.reason != StopReason::converged) return false;
  if (options.stepwise) {
    const std::size_t looks = candidate.held_out.size();
    return looks < 2 || !(std::abs(candidate.held_out[looks - 1] - candidate.held_out[looks - 2]) < options.tolerance);
  }
  const double change = candidate.trace.back() - candidate.trace[candidate.trace.size() - 2];
  return !(std::abs(change) / weight < options.tolerance);
}

}  // namespace

const char* to_string(StopReason reason) {
  switch (reason) {
    case StopReason::running:
      return "running";
    case StopReason::converged:
      return "converged";
    case StopReason::fixed_point:
      return "fixed point";
    case StopReason::iteration_limit:
      return "iteration limit";
    case StopReason::failed:
      return "failed";
  }
  return "";
}

void let_go_on(FitState& state, const FitOptions& options, double total_weight) {
  for (Candidate& candidate : state.candidates)
    if (goes_on(candidate, options, total_weight)) {
      candidate.reason = StopReason::running;
      candidate.trace.pop_back();
      if (!candidate.held_out.empty()) candidate.held_out.pop_back();  // the look that ended it is repeated
      state.iteration = candidate.m_steps;
    }
}

std::optional<int> best_candidate(const Model& model, const FitState& state) {
  // Of a stepwise fit a trace has single batches, before its end.
  const bool looked = std::ranges::none_of(state.candidates, [](const Candidate& each) { return each.held_out.empty(); });
  const auto score = [&](const Candidate& each) { return looked ? each.held_out.back() : each.trace.back(); };
  const Candidate* best = nullptr;
  for (const Candidate& candidate : state.candidates) {
    if (candidate.reason == StopReason::failed || candidate.trace.empty()) continue;
    if (!best || better(model, score(candidate), score(*best))) best = &candidate;
  }
  if (!best) return std::nullopt;
  return static_cast<int>(best - state.candidates.data());
}

namespace {

// Names the running candidates of each model to its part; how many there are.
int choose_running(std::span<const FitTask> tasks, std::span<PassPart> parts) {
  int count = 0;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    std::vector<int> running;
    std::vector<const std::vector<double>*> parameters;
    for (int c = 0; c < static_cast<int>(tasks[t].state->candidates.size()); ++c) {
      const Candidate& candidate = tasks[t].state->candidates[static_cast<std::size_t>(c)];
      if (!candidate.active()) continue;
      running.push_back(c);
      parameters.push_back(&candidate.parameters);
    }
    count += static_cast<int>(running.size());
    parts[t].run(std::move(running), std::move(parameters));
  }
  return count;
}

}  // namespace

bool fit_together(std::span<const FitTask> tasks, Shard& shard, const DataSummary& summary,
                  const FitOptions& options, Communicator& communicator, FitObserver& observer) {
  std::vector<PassPart> parts;
  for (const FitTask& task : tasks)
    parts.emplace_back(*task.model, shard, summary, static_cast<int>(task.state->candidates.size()), options,
                       task.state->exponents);
  Pass pass(parts, shard, options, communicator);
  int iteration = 0;
  std::vector<std::vector<std::vector<Degenerate>>> degenerate;  // of each candidate's last M-step
  for (const FitTask& task : tasks) {
    iteration = std::max(iteration, task.state->iteration);
    degenerate.emplace_back(task.state->candidates.size());
  }
  for (;;) {
    IterationReport report;
    report.iteration = iteration;
    report.running = choose_running(tasks, parts);
    report.rows = summary.rows;
    report.best = -1;
    if (report.running == 0) return false;
    pass.run(PassKind::expectation, observer.stop_requested());
    pass.report_times(report);
    const auto maximizing = std::chrono::steady_clock::now();
    bool ended = true;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      const Model& model = *tasks[t].model;
      FitState& state = *tasks[t].state;
      state.exponents = parts[t].exponents();
      for (const int c : parts[t].running()) {
        Candidate& candidate = state.candidates[static_cast<std::size_t>(c)];
        const double objective =
            model.objective_in_user_units(parts[t].tally().objective(c), summary.total_weight);
        if (const std::string why = failure_of(model, parts[t], c, objective, state.iteration, pass);
            !why.empty()) {
          fail(candidate, why);
          continue;
        }
        judge(candidate, objective, summary.total_weight, options);
        if (report.best < 0 || better(model, objective / summary.total_weight, report.objective)) {
          report.model = static_cast<int>(t);
          report.best = c;
          report.objective = objective / summary.total_weight;
          const std::size_t entries = candidate.trace.size();
          report.change = entries < 2 ? std::numeric_limits<double>::quiet_NaN()
                                      : (objective - candidate.trace[entries - 2]) / summary.total_weight;
        }
        if (candidate.active()) {
          const MStep step(model, summary.total_weight, options.on_degenerate);
          for (const Degenerate& each : step.run(parts[t].statistics(c), state.iteration, candidate,
                                                 degenerate[t][static_cast<std::size_t>(c)]))
            observer.repaired(static_cast<int>(t), c, each, state.iteration);
        }
        ended &= !candidate.active();
      }
      if (!parts[t].running().empty()) ++state.iteration;
    }
    ++iteration;
    report.maximize_seconds = seconds_since(maximizing);
    if (report.best >= 0) observer.iterated(report);
    observer.advanced(tasks, pass.stopping() || ended);
    if (pass.stopping() && !ended) return true;
  }
}

FitOutcome fit(const Model& model, Shard& shard, const DataSummary& summary, FitState& state,
               const FitOptions& options, Communicator& communicator, FitObserver& observer) {
  const FitTask task{&model, &state};
  const bool stopped = fit_together(std::span(&task, 1), shard, summary, options, communicator, observer);
  const std::optional<int> best = best_candidate(model, state);
  if (!best) throw DataError(state.candidates.front().failure);
  return {*best, stopped};
}

std::vector<double> fit_given(const Model& model, Shard& shard, const DataSummary& summary,
                              const FitOptions& options, Communicator& communicator) {
  std::vector<double> parameters(static_cast<std::size_t>(model.parameters().size()));
  model.set_defaults(parameters);
  PassPart part(model, shard, summary, 1, options, {});
  Pass pass(std::span(&part, 1), shard, options, communicator);
  part.run({0}, {&parameters});
  pass.run(PassKind::given, false);
  if (part.tally().non_finite(0) > 0) throw DataError("the statistics of the first M-step are not finite");
  std::vector<double> statistics(static_cast<std::size_t>(model.statistics().size()));
  part.tally().statistics(0, statistics);
  model.maximize_start(statistics, summary.total_weight, parameters);
  return parameters;
}

}  // namespace tally
