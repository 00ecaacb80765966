#pragma once
#include "algorithms/em_fit.hpp"

namespace tally {

// Stepwise (online) expectation-maximisation from state.candidates to the end of each: every step's E-step sees one batch of
// blocks, whose statistics take a share of the running ones, and the M-step maximises these, brought to the weight of all rows
// (Cappe and Moulines, "On-line expectation-maximization algorithm for latent data models", JRSS B 71, 2009):
//   s <- (1 - g) s + g s_batch,   g = (step + 1)^-step_decay
// Traces hold the objective of each batch brought to the weight of all rows, and end with that of the rows held out, or of one
// batch more where none is. One sum over ranks a step; every rank ends with the same bits. options.stepwise is there; a
// tolerance is on the held-out mean between one look and the next. Throws as `fit` does. Collective.
FitOutcome fit_stepwise(const Model& model, Shard& shard, const DataSummary& summary, FitState& state,
                        const FitOptions& options, Communicator& communicator, FitObserver& observer);

// How many blocks a batch has and how many are held out. Throws UsageError where that leaves none.
struct BatchSizes {
  Index batch, held_out;
};
BatchSizes batch_sizes(const Stepwise& stepwise, const BlockPlan& plan);

// Rows of a block where batches have this many: a batch has about 16 blocks at least, so that ranks and threads share it.
Index batch_block_rows(const Stepwise& stepwise, Index most);

}  // namespace tally
