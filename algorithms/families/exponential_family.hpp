#pragma once
#include <cstdint>
#include <span>

#include "algorithms/kernel.hpp"

namespace tally {

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

}  // namespace tally
