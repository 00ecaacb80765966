#pragma once
#include <cstdint>
#include <limits>
#include <span>

#include "algorithms/kernel.hpp"

namespace tally {

// Stands for log 0: a count of 0 under a rate of 0 contributes 0, any other count makes the row impossible, and no
// product of it with a count is a NaN, not even in single precision.
inline constexpr double log_of_zero = -1e25;

// Minus infinity for what can only come from log_of_zero.
inline double log_likelihood_of(double objective) {
  return objective < 0.1 * log_of_zero ? -std::numeric_limits<double>::infinity() : objective;
}

// Log-densities and statistics of any exponential family by two matrix products with the monomials T(x):
//   logits = T eta'      (rows, K)
//   moments += R' T      (K, P)
// The family's own part is how T is made from x.
struct ExponentialKernel {
  Index components = 0;
  Index width = 0;  // P

  template <class Lane, class Real>
  void log_densities(Lane& lane, MatrixView<const Real> features, const Real* coefficients,
                     MatrixView<Real> logits) const {
    lane.multiply_nt(features, MatrixView<const Real>(coefficients, components, width), logits);
  }
  template <class Lane, class Real>
  void add_weighted(Lane& lane, MatrixView<const Real> features, MatrixView<const Real> posterior,
                    double* statistics) const {
    lane.add_multiply_tn(posterior, features, MatrixView<double>(statistics, components, width));
  }
};

// T(x) = [1, x].
struct LinearKernel : ExponentialKernel {
  template <class Lane, class Real>
  void features(Lane& lane, MatrixView<const Real> x, MatrixView<Real> out) const {
    lane.linear_features(x, out);
  }
  Index feature_width() const { return width; }
};

}  // namespace tally
