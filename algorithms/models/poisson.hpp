#pragma once
#include <memory>

#include "algorithms/registry.hpp"

namespace tally {

// Mixture of independent Poisson counts.
std::unique_ptr<Model> make_poisson_mixture(Index components, Index columns);
FamilyEntry poisson_entry();

}  // namespace tally
