#pragma once
#include <span>

#include "algorithms/families/covariance_model.hpp"

namespace tally {

// What an M-step knows of K components of D columns besides their own covariances.
struct ComponentMoments {
  std::span<const double> counts;    // (K); 0: empty
  std::span<const double> seconds;   // (K, D): of x_d^2, whose rounding errors variances have
  std::span<const double> previous;  // covariances before, as those that are shared
  Index columns = 0;
};

// The M-step of covariances that share volume, shape or orientation. `covariances` holds, for each component of count above
// 0, its own covariance of largest likelihood, in the model's form ((K, D, D), (K, D) or (K)); it is replaced by those of
// largest likelihood under the model. Empty components keep theirs, or take what is the same for all. Where there is no
// closed form (VEI, VEE, VEV, EVE, VVE) it iterates from the covariances before, so that the likelihood never falls. Throws
// DataError where there is no maximum: a component without a volume. Celeux and Govaert, Pattern Recognition 28, 1995; EVE
// and VVE by rotations of pairs of axes as in Flury and Gautschi, SIAM Journal on Scientific and Statistical Computing 7, 1986.
void share_covariances(Covariance model, const ComponentMoments& moments, std::span<double> covariances);

}  // namespace tally
