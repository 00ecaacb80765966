#pragma once
#include "core/backends/chain.hpp"

namespace tally::cpu {

// What the steps of b (rows, K), emissions as scale_emissions leaves them, and the message after them (`outgoing`, null where the
// sequence ends) say of each state at the first of them: `first` (K) becomes b_1 o beta_1, of any scale. For chains whose
// states mix: nothing watches what underflows. False where the steps are impossible.
template <class Real>
bool chain_likelihood(const ChainWeights<Real>& weights, MatrixView<const Real> b, const double* outgoing, Real* first);

}  // namespace tally::cpu
