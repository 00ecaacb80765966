#pragma once
#include <span>
#include <vector>

#include "core/view.hpp"

namespace tally {

// Rotates `axes` (D, D), orthonormal rows, to the common axes a_d of largest likelihood of covariances S_k (each D x D) with
// weights n_k, and returns the variances a_d' S_k a_d (D) of each: the axes make sum_k n_k sum_d log(a_d' S_k a_d) smallest or,
// with `one_volume`, sum_k n_k (prod_d a_d' S_k a_d)^(1/D). By rotations of pairs of axes, none of which raises that, as in
// Flury and Gautschi, SIAM Journal on Scientific and Statistical Computing 7, 1986. Empty where a variance is not above 0.
std::vector<std::vector<double>> find_common_axes(std::vector<std::vector<double>> covariances,
                                                  std::span<const double> weights, bool one_volume,
                                                  MatrixView<double> axes);

}  // namespace tally
