#pragma once
#include <limits>
#include <span>
#include <vector>

#include "core/view.hpp"

namespace tally {

// Where a covariance counts as singular (docs/numerics.md), and the words for it. `component` below 0: of no one component, but
// the `which` ("tied") covariance.

// The rounding error of a variance, per unit of the second moment that it was left of.
constexpr double moment_rounding = 4 * std::numeric_limits<double>::epsilon();

// Why there may be no volume, and what helps: the end of a message.
constexpr const char* singular_advice =
    "component collapsed; use a larger --reg-covar, fewer components, or leave the column out";

// Throws DataError.
[[noreturn]] void refuse_singular(Index component, Index column, const char* which);

// Replaces a covariance by its lower Cholesky factor. Returns its first column with a pivot that is no more than `relative`
// times its variance plus `least` (both by column), or that is none; -1 where there is none such.
Index first_small_pivot(MatrixView<double> covariance, double relative, std::span<const double> least);

// The lower Cholesky factor of `covariance` (D, D). Throws DataError where a pivot is no more than rounding error: of the
// factorisation, about D eps times the variance, or of the second moment (D; empty: not known) that the variance was left of.
std::vector<double> factor_of(std::span<const double> covariance, Index D, std::span<const double> moments,
                              Index component, const char* which);

// The same of one variance. Throws DataError.
void check_variance(double variance, double second_moment, Index component, Index column, const char* which);

}  // namespace tally
