#pragma once
#include <vector>

#include "algorithms/registry.hpp"

namespace tally {

// Hidden Markov models whose states emit any of these families.
ModelEntry hmm_entry(const std::vector<EmissionEntry>& emissions);

}  // namespace tally
