#pragma once
#include "core/block.hpp"

namespace tally {

// How far results may lie apart where the same fit is computed by other backends or in other blocks, each relative to
// the largest number of its kind. docs/numerics.md, "Between devices", gives the reasons.
struct Tolerances {
  double m_step;      // parameters after one M-step of given labels: no logit is involved
  double parameters;  // after some iterations
  double objective;   // of all rows
  double rows;        // objectives and responsibilities of single rows under the same parameters
  double labels;      // share of rows whose best component is another one under the same parameters
};

// In tf32 what products of floats round away reaches the results of all models but those that settle it in double, as
// k-means does.
constexpr Tolerances tolerances_of(Precision precision, bool settles_products = false) {
  if (precision == Precision::tf32 && !settles_products) return {2e-3, 5e-2, 3e-3, 1e-1, 2e-2};
  if (in_float(precision)) return {1e-4, 2e-3, 1e-5, 2e-4, 1e-4};
  return {1e-12, 1e-10, 1e-12, 1e-11, 1e-6};
}

}  // namespace tally
