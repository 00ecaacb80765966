#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of independent counts of successes in a number of trials.
FamilyEntry binomial_entry();

}  // namespace tally
