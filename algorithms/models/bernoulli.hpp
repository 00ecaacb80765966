#pragma once
#include <memory>

#include "algorithms/families/bernoulli.hpp"
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of independent columns of 0 and 1.
std::unique_ptr<Model> make_bernoulli_mixture(Index components, Index columns, const BernoulliOptions& options = {});
FamilyEntry bernoulli_entry();

}  // namespace tally
