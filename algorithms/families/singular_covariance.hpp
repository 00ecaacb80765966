#pragma once
#include <span>
#include <vector>

#include "core/view.hpp"

namespace tally {

// Where a covariance counts as singular (docs/numerics.md), and the words for it. `component` below 0: of no one component, but
// the `which` ("tied") covariance.

// Throws DataError.
[[noreturn]] void refuse_singular(Index component, Index column, const char* which);

// The lower Cholesky factor of `covariance` (D, D). Throws DataError where a pivot is no more than rounding error: of the
// factorisation, about D eps times the variance, or of the second moment (D; empty: not known) that the variance was left of.
std::vector<double> factor_of(std::span<const double> covariance, Index D, std::span<const double> moments,
                              Index component, const char* which);

// The same of one variance. Throws DataError.
void check_variance(double variance, double second_moment, Index component, Index column, const char* which);

}  // namespace tally
