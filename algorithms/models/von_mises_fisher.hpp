#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of von Mises-Fisher distributions of vectors of length 1.
FamilyEntry von_mises_fisher_entry();

}  // namespace tally
