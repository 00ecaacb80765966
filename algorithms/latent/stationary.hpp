#pragma once
#include <span>
#include <vector>

#include "core/view.hpp"

namespace tally {

// The distribution d with d A = d of a transition matrix A (K, K) whose rows sum to 1, by the elimination of
// Grassmann, Taksar and Heyman (Operations Research 33, 1985), which subtracts nothing. States that the chain leaves
// for good have 0. Throws DataError where d is not unique: two sets of states that are never left.
std::vector<double> stationary_distribution(MatrixView<const double> transitions);

// Raises f(A) = sum_k starts_k log d_k(A) + sum_ij counts_ij log A_ij, d the stationary distribution of A, to a maximum
// near the A that `transitions` holds or near that of the counts alone; never below f of the former. Entries that are 0
// stay 0, rows without counts stay what they are. On one thread in a fixed order.
// The problem is that of Zucchini, MacDonald and Langrock, Hidden Markov Models for Time Series (2016), section 4.2.5.
void maximize_stationary(std::span<const double> starts, MatrixView<const double> counts,
                         MatrixView<double> transitions);

}  // namespace tally
