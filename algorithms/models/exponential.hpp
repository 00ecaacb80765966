#pragma once
#include "algorithms/registry.hpp"

namespace tally {

// Mixture of independent exponential columns.
FamilyEntry exponential_entry();

}  // namespace tally
