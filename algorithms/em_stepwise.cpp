#include "algorithms/em_stepwise.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "algorithms/batch_plan.hpp"
#include "algorithms/em_m_step.hpp"
#include "algorithms/em_pass.hpp"
#include "comm/in_seconds.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

// So many blocks have about this many rows.
Index blocks_of(Index rows, const BlockPlan& plan) {
  const Index each = plan.most_rows();
  return rows <= 0 ? 0 : std::max<Index>(1, (rows + each / 2) / each);
}

class StepwiseFit {
 public:
  StepwiseFit(const Model& model, Shard& shard, const DataSummary& summary, FitState& state, const FitOptions& options,
              Communicator& communicator, FitObserver& observer)
      : model_(model),
        shard_(shard),
        summary_(summary),
        state_(state),
        options_(options),
        observer_(observer),
        sizes_(batch_sizes(*options.stepwise, shard.plan())),
        batches_(shard.plan().block_count(), sizes_.batch, sizes_.held_out, options.stepwise->seed),
        // Those of batches, then the same of the rows held out.
        part_(model, shard, summary, (sizes_.held_out > 0 ? 2 : 1) * starts(), options, state.exponents),
        pass_(std::span(&part_, 1), shard, options, communicator),
        degenerate_(state.candidates.size()) {}

  // Whether it was stopped on request.
  bool run() {
    for (;;) {
      const std::vector<int> running = choose_running();
      if (running.empty()) return false;
      IterationReport report;
      report.iteration = step_;
      report.running = static_cast<int>(running.size());
      report.best = -1;
      compute(running);
      pass_.report_times(report);
      report.rows = part_.tally().counter(Tally::rows);
      const auto maximizing = std::chrono::steady_clock::now();
      for (const int c : running) advance(c, report);
      const bool ended = std::ranges::none_of(state_.candidates, [](const Candidate& each) { return each.active(); });
      ++state_.iteration;
      report.maximize_seconds = seconds_since(maximizing);
      if (report.best >= 0) observer_.iterated(report);
      const FitTask task{&model_, &state_};
      observer_.advanced(std::span(&task, 1), pass_.stopping() || ended);
      if (pass_.stopping() && !ended) return true;
    }
  }

 private:
  int starts() const { return static_cast<int>(state_.candidates.size()); }
  Candidate& candidate(int c) { return state_.candidates[static_cast<std::size_t>(c)]; }
  bool last() const { return step_ >= options_.max_iterations; }
  bool is_time_to_look() const { return step_ % Stepwise::steps_per_look == 0; }
  bool looks() const { return sizes_.held_out > 0 && (last() || is_time_to_look()); }

  // Those that are at the earliest step: after a resume some may go on that had ended before others.
  std::vector<int> choose_running() {
    std::vector<int> running;
    for (int c = 0; c < starts(); ++c) {
      if (!candidate(c).active()) continue;
      if (!running.empty() && candidate(c).m_steps < candidate(running.front()).m_steps) running.clear();
      if (running.empty() || candidate(c).m_steps == candidate(running.front()).m_steps) running.push_back(c);
    }
    if (!running.empty()) step_ = candidate(running.front()).m_steps;
    return running;
  }

  std::vector<Index> mine(const std::vector<Index>& blocks) const {
    std::vector<Index> local;
    for (const Index block : blocks)
      if (const Index place = block - shard_.first_block(); place >= 0 && place < shard_.block_count()) local.push_back(place);
    return local;
  }

  // The E-step of the batch, unless a last look is all that is left to do, and of the rows held out.
  void compute(const std::vector<int>& running) {
    std::vector<BlockGroup> groups;
    std::vector<int> all;
    std::vector<const std::vector<double>*> parameters;
    const auto add = [&](const std::vector<Index>& blocks, int first) {
      BlockGroup& group = groups.emplace_back(BlockGroup{mine(blocks), {}});
      for (const int c : running) {
        group.candidates.push_back(first + c);
        parameters.push_back(&candidate(c).parameters);
      }
      all.insert(all.end(), group.candidates.begin(), group.candidates.end());
    };
    if (!last() || !looks()) add(batches_.batch(step_), 0);
    if (looks()) add(batches_.held_out(), starts());
    part_.run(std::move(all), std::move(parameters));
    pass_.run(PassKind::expectation, observer_.stop_requested(), groups);
    state_.exponents = part_.exponents();
  }

  // The mean objective per unit of weight; 0 where the rows weigh nothing. `why`: why the candidate cannot go on.
  double mean_of(int slot, std::span<const double> statistics, std::string& why) {
    const double weight = model_.weight_of(statistics);
    const double objective = model_.objective_in_user_units(part_.tally().objective(slot), weight);
    why = failure_of(model_, part_, slot, objective, step_, pass_);
    return weight > 0 ? objective / weight : 0;
  }

  void advance(int c, IterationReport& report) {
    Candidate& own = candidate(c);
    std::string why;
    if (looks()) {
      const std::vector<double> statistics = part_.statistics(starts() + c);
      const double mean = mean_of(starts() + c, statistics, why);
      if (why.empty() && !(model_.weight_of(statistics) > 0))
        why = "the rows held out weigh nothing: give --held-out more rows, or 0";
      if (!why.empty()) return fail(own, why);
      // The last look, at --max-iter, may come a step after the one before.
      if (is_time_to_look() && !own.held_out.empty() && std::abs(mean - own.held_out.back()) < options_.tolerance)
        own.reason = StopReason::converged;
      own.held_out.push_back(mean);
    }
    std::vector<double> statistics;
    double batch = 0;
    if (!last() || !looks()) {
      statistics = part_.statistics(c);
      batch = mean_of(c, statistics, why);
      if (!why.empty()) return fail(own, why);
    }
    if (own.active() && last()) own.reason = StopReason::iteration_limit;
    const double shown = looks() ? own.held_out.back() : batch;
    own.trace.push_back((own.active() ? batch : shown) * summary_.total_weight);
    note(c, shown, report);
    if (own.active()) maximize(c, statistics);
  }

  void note(int c, double mean, IterationReport& report) {
    if (report.best >= 0 && !better(model_, mean, report.objective)) return;
    const Candidate& own = candidate(c);
    report.best = c;
    report.objective = mean;
    report.of_held_out = looks();
    const std::size_t looked = own.held_out.size();
    report.change = looks() && looked > 1 ? own.held_out[looked - 1] - own.held_out[looked - 2]
                                          : std::numeric_limits<double>::quiet_NaN();
  }

  // Batches are alike in blocks, not in weight: the mean over them is right where it is brought to the weight of all at the end.
  void maximize(int c, std::span<const double> statistics) {
    Candidate& own = candidate(c);
    const double share = std::pow(static_cast<double>(step_ + 1), -options_.stepwise->step_decay);
    own.running.resize(statistics.size());
    for (std::size_t i = 0; i < statistics.size(); ++i)
      own.running[i] = (1 - share) * own.running[i] + share * statistics[i];
    const double weight = model_.weight_of(own.running);
    if (!(weight > 0)) {  // nothing but rows of weight 0 so far
      ++own.m_steps;
      return;
    }
    std::vector<double> whole = own.running;
    for (double& sum : whole) sum *= summary_.total_weight / weight;
    const MStep step(model_, summary_.total_weight, options_.on_degenerate);
    for (const Degenerate& each : step.run(std::move(whole), step_, own, degenerate_[static_cast<std::size_t>(c)]))
      observer_.repaired(0, c, each, step_);
  }

  const Model& model_;
  Shard& shard_;
  const DataSummary& summary_;
  FitState& state_;
  const FitOptions& options_;
  FitObserver& observer_;
  BatchSizes sizes_;
  BatchPlan batches_;
  PassPart part_;
  Pass pass_;
  int step_ = 0;
  std::vector<std::vector<Degenerate>> degenerate_;  // of each candidate's last M-step
};

}  // namespace

// At most a tenth of all rows is held out where nobody said how many.
BatchSizes batch_sizes(const Stepwise& stepwise, const BlockPlan& plan) {
  const Index batch = blocks_of(stepwise.rows, plan), blocks = plan.block_count();
  const Index held_out = stepwise.held_out >= 0 ? blocks_of(stepwise.held_out, plan) : std::min(batch, blocks / 10);
  return {std::min(batch, BatchPlan::blocks_left(blocks, held_out)), held_out};
}

Index batch_block_rows(const Stepwise& stepwise, Index most) {
  constexpr std::uint64_t blocks_at_least = 16;
  constexpr Index least = 64;
  const auto rows = std::bit_floor(static_cast<std::uint64_t>(stepwise.rows) / blocks_at_least);
  return std::clamp(static_cast<Index>(rows), std::min(least, most), most);
}

FitOutcome fit_stepwise(const Model& model, Shard& shard, const DataSummary& summary, FitState& state,
                        const FitOptions& options, Communicator& communicator, FitObserver& observer) {
  const bool stopped = StepwiseFit(model, shard, summary, state, options, communicator, observer).run();
  const std::optional<int> best = best_candidate(model, state);
  if (!best) throw DataError(state.candidates.front().failure);
  return {*best, stopped};
}

}  // namespace tally
