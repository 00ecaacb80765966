#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "algorithms/model.hpp"
#include "comm/communicator.hpp"
#include "core/shard.hpp"

namespace tally {

enum class StopReason : int { running = 0, converged = 1, fixed_point = 2, iteration_limit = 3, failed = 4 };
const char* to_string(StopReason reason);

// One start of several (restarts): it stops by itself.
struct Candidate {
  std::vector<double> parameters;
  std::vector<double> trace;  // objective in the user's units before each M-step; closed by that of `parameters`
  StopReason reason = StopReason::running;
  std::string failure;        // why it failed
  int m_steps = 0;
  // Of a stepwise fit: running statistics, and the mean objective of the rows held out at each look.
  std::vector<double> running, held_out;

  bool active() const noexcept { return reason == StopReason::running; }
};

// The loop's whole state: what a checkpoint holds besides the standardisation.
struct FitState {
  std::vector<Candidate> candidates;
  std::vector<int> exponents;  // of the grids of the exact sums, a field each; empty: from the bounds
  int iteration = 0;           // E-steps done
};

// Of a stepwise fit, whose M-steps each follow a batch of rows.
struct Stepwise {
  Index rows = 0;           // of a batch, about: batches are whole blocks
  double step_decay = 0.7;  // above 1/2, up to 1
  Index held_out = -1;      // rows, about, that no batch has; -1: as many as a batch, at most a tenth
  std::uint64_t seed = 0;
  static constexpr int steps_per_look = 10;  // at the rows held out
};

struct FitOptions {
  int max_iterations = 100;
  double tolerance = 1e-3;  // on the change of the mean objective per unit of weight; 0: never
  Precision precision = Precision::double_precision;
  Summation summation = Summation::exact;
  Device* device = nullptr;  // what this rank computes on; null: the CPU. All ranks have one or none
  Index row_memory = 0;      // bytes of rows that it may keep; 0: what it has
  OnDegenerate on_degenerate = OnDegenerate::floor;  // one that the model does not refuse
  std::optional<Stepwise> stepwise = std::nullopt;  // for fit_stepwise
  bool remembers = true;  // whether what is learnt of rows in memory may spare work in later passes; results are the same
};

struct IterationReport {
  int iteration = 0;        // M-steps before this E-step
  int model = 0, best = 0;  // of several models, and its candidate
  double objective = 0;     // of the best running candidate, mean per unit of weight
  double change = 0;        // against its iteration before; NaN in the first
  bool of_held_out = false;  // of a stepwise fit, whether the objective is that of the rows held out; the change is of these
  int running = 0;          // candidates of all models
  Index rows = 0;
  // Of this rank: waiting for rows from files, the E-step, what was done and waited for together with the other ranks, and
  // the M-step; and of the processor in the E-step, all threads.
  double read_seconds = 0, compute_seconds = 0, reduce_seconds = 0, maximize_seconds = 0;
  double processor_seconds = 0;
};

// A model and its candidates, alone or among others that are fitted to the same rows.
struct FitTask {
  const Model* model;
  FitState* state;
};

// Watches a fit; called on every rank, on the calling thread.
class FitObserver {
 public:
  virtual ~FitObserver() = default;
  virtual void iterated(const IterationReport&) {}
  // A component became degenerate, or was dealt with: of this task and candidate, in the M-step of this iteration.
  virtual void repaired(int /*task*/, int /*candidate*/, const Degenerate&, int /*iteration*/) {}
  // After each M-step: the states are complete and may be checkpointed. Where `stopping`, it is the last call.
  virtual void advanced(std::span<const FitTask>, bool /*stopping*/) {}
  // Asked before each reduction; one rank's wish stops all after the M-step.
  virtual bool stop_requested() { return false; }
};

struct FitOutcome {
  int best = 0;          // candidate with the best closing objective
  bool stopped = false;  // on request
};

// The candidate whose trace ends best, the first of equals; none where all failed or none has a trace.
std::optional<int> best_candidate(const Model& model, const FitState& state);

// Lets candidates go on that ended by limits which these options do not set any more, as after a resume.
void let_go_on(FitState& state, const FitOptions& options, double total_weight);

// Expectation-maximisation from state.candidates to the end of each. One sum over ranks an iteration (and, rarely: a
// maximum and a repeated pass where a statistic outgrew its grid; the spreading of an error). `shard` is prepared.
// Every rank ends with the same bits. Throws DataError where no candidate could be fitted. Collective.
FitOutcome fit(const Model& model, Shard& shard, const DataSummary& summary, FitState& state, const FitOptions& options,
               Communicator& communicator, FitObserver& observer);

// The same for several models at once: one reading of the rows and one sum an iteration serve all of their candidates, and
// each ends with the bits that a fit of its own gives it. The shard is prepared where all models standardise alike; otherwise
// it keeps raw rows, for each to standardise. On the CPU, models whose rows are independent. Whether it was stopped on
// request; a model may be left without a candidate that could be fitted. Collective.
bool fit_together(std::span<const FitTask> tasks, Shard& shard, const DataSummary& summary,
                  const FitOptions& options, Communicator& communicator, FitObserver& observer);

// Parameters by one M-step from what the shard was given: labels or responsibilities. One sum. Collective.
std::vector<double> fit_given(const Model& model, Shard& shard, const DataSummary& summary, const FitOptions& options,
                              Communicator& communicator);

}  // namespace tally
