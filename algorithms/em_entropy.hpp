#pragma once
#include <span>
#include <vector>

#include "algorithms/em_fit.hpp"

namespace tally {

// A model and parameters that it was fitted to.
struct FittedModel {
  const Model* model;
  const std::vector<double>* parameters;
};

// How undecided each model is about its components: the entropy -sum_i w_i sum_k r_ik log r_ik of the responsibilities, in
// nats; 0 where every row surely belongs to one component. For what fit_together takes: one reading of the rows, exact sums,
// the same bits on any number of ranks. Throws DataError where a sum is beyond the range of double. Collective.
std::vector<double> assignment_entropies(std::span<const FittedModel> fitted, Shard& shard, const FitOptions& options,
                                         Communicator& communicator);

}  // namespace tally
